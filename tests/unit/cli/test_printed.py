"""The published schemas of what commands print; ``integration/test_json_output`` prints it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from tests.support.fake_manager import plugin_summary

from vconnect.cli.boundary import run
from vconnect.cli.commands.checking import OUTPUTS
from vconnect.cli.printed import FORMS, output_schema
from vconnect.cli.root import root

SCHEMAS = Path(__file__).parents[3] / "docs" / "schemas"


def test_the_command_knows_the_names_without_the_types() -> None:
    assert list(OUTPUTS) == sorted(FORMS)


@pytest.mark.parametrize("name", OUTPUTS)
def test_what_is_published_is_what_is_printed(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(root, ["schema", name]) == 0
    published = (SCHEMAS / f"{name}.json").read_text(encoding="utf-8")
    hint = f"write it anew: vconnect schema {name} > docs/schemas/{name}.json"
    assert published == capsys.readouterr().out, hint


def test_nothing_else_is_published() -> None:
    assert sorted(path.name for path in SCHEMAS.iterdir()) == [f"{name}.json" for name in OUTPUTS]


@pytest.mark.parametrize("name", OUTPUTS)
def test_it_is_a_schema_in_which_every_key_has_words(name: str) -> None:
    schema = output_schema(name)
    jsonschema.Draft202012Validator.check_schema(schema)
    for kind, definition in schema["$defs"].items():
        for key, one in definition.get("properties", {}).items():
            assert one.get("description") or "$ref" in one or "anyOf" in one, (kind, key)


def test_a_command_may_print_more_than_one_form() -> None:
    validator = jsonschema.Draft202012Validator(output_schema("restart"))
    plugin = json.loads(plugin_summary().to_json())
    error = {"code": "unknown_plugin", "message": "no such plugin", "next": "", "status": 404}
    refused = {"name": "nobody", "error": error}
    assert validator.is_valid(plugin)
    assert validator.is_valid([plugin, refused])
    assert not validator.is_valid(refused)
    assert not validator.is_valid({**plugin, "pid": "1"})
    assert not validator.is_valid([{"name": "nobody"}])


def test_what_is_inherited_has_its_words() -> None:
    definitions = output_schema("status")["$defs"]
    described = definitions["HostStatus"]["properties"]
    assert described["pid"]["description"] == "The host's PID."
    assert described["guardian_pid"]["description"] == "The PID of its guardian, or `null`."
