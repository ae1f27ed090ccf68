"""``vconnect check`` and ``vconnect schema``, as a person uses them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vconnect import checks
from vconnect.cli.boundary import run
from vconnect.cli.commands.checking import OUTPUTS
from vconnect.cli.root import root
from vconnect.packages.manifest_schema import manifest_schema
from vconnect.settings.schema import configuration_schema

pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]
SCHEMAS = Path(checks.__file__).parents[1] / "schemas"


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


def test_the_schemas_are_printed(capsys: Printed) -> None:
    assert vconnect("schema", "manifest") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(manifest_schema()))
    assert vconnect("schema", "config") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(configuration_schema()))


@pytest.mark.parametrize("arguments", [("schema",), ("schema", "plugin")])
def test_there_are_no_others(arguments: tuple[str, ...], capsys: Printed) -> None:
    assert vconnect(*arguments) == 2
    assert "error: " in capsys.readouterr().err


def test_the_help_says_which_there_are(capsys: Printed) -> None:
    assert vconnect("schema", "--help") == 0
    words = set(capsys.readouterr().out.replace(",", " ").replace(".", " ").split())
    assert {"manifest", "config", *OUTPUTS} <= words


def test_one_line_for_each_fault(capsys: Printed) -> None:
    assert vconnect("new", "demo") == 0
    assert vconnect("pack", "demo") == 0
    capsys.readouterr()
    assert vconnect("check", "demo-0.1.0.vp") == 0
    notes = "note: demo-0.1.0.vp: demo 0.1.0, for any platform\n"
    assert capsys.readouterr().out.startswith(notes)
    Path("demo/li\x1bnk").symlink_to("/etc")
    Path("demo/pyproject.toml").write_text("[project]\nversion = '9'\n")
    assert vconnect("check", "demo") == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("note")]
    assert lines[0].startswith(r"demo/li\x1bnk: is a symbolic link")
    assert lines[1].startswith("demo/pyproject.toml: project.version: version is '9'")
    assert lines[-1] == f"{len(lines) - 1} faults"


def test_as_json_it_is_a_list(capsys: Printed) -> None:
    Path("vconnect.toml").write_text("[plugins]\nwindow = 0\nwindw = 1\n")
    assert vconnect("check", "vconnect.toml", "--json") == 2
    assert json.loads(capsys.readouterr().out) == [
        {
            "place": "vconnect.toml: plugins.window",
            "message": "expected `int` >= 1",
            "is_fault": True,
        },
        {
            "place": "vconnect.toml: plugins.windw",
            "message": "unknown key; did you mean 'window'?",
            "is_fault": True,
        },
    ]
    Path("vconnect.toml").write_text("")
    assert vconnect("check", "vconnect.toml", "--json") == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("path", "exit_code"), [("none", 2), ("empty", 2), ("plugin.json", 2), ("a.vp", 1)]
)
def test_exit_codes(path: str, exit_code: int, capsys: Printed) -> None:
    Path("empty").mkdir()
    Path("plugin.json").write_text("{}")
    Path("a.vp").touch()
    assert vconnect("check", path) == exit_code
    assert path in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("what", "file"), [("manifest", "plugin.schema.json"), ("config", "vconnect.schema.json")]
)
def test_the_package_has_what_is_printed(what: str, file: str, capsys: Printed) -> None:
    assert vconnect("schema", what) == 0
    published = (SCHEMAS / file).read_text()
    hint = f"write it anew: vconnect schema {what} > src/vconnect/schemas/{file}"
    assert published == capsys.readouterr().out, hint
