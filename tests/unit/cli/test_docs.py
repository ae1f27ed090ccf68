"""The operator's page holds every key, command, state and default that there is."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from vconnect.cli.root import root
from vconnect.plugins.status import TRANSITIONS, PluginStatus, Substate
from vconnect.settings.model import Settings

PAGE = (Path(__file__).parents[3] / "docs" / "operators.md").read_text(encoding="utf-8")
TABLES = [
    [cell.strip() for cell in line.split("|")[1:-1]]
    for line in PAGE.splitlines()
    if line.startswith("| `")
]
KEYS = {row[0].strip("`"): row for row in TABLES if len(row) == 5}
WORDS = {row[0].strip("`") for row in TABLES if len(row) < 5}


@pytest.mark.parametrize("field", msgspec.structs.fields(Settings), ids=lambda field: field.name)
def test_every_key_is_documented_with_its_variable(field: msgspec.structs.FieldInfo) -> None:
    _, default, variable, _, meaning = KEYS[field.name]
    assert meaning
    is_table = field.name in ("config", "options", "events", "env")
    expected = "" if is_table else f"`VCONNECT_{field.name.upper()}`"
    assert variable == expected
    if isinstance(field.default, int | float) and not isinstance(field.default, bool):
        assert default == f"`{field.default}`"
    if isinstance(field.default, str):
        assert default == f'`"{field.default}"`'


@pytest.mark.parametrize("command", sorted(root.commands))
def test_every_command_is_documented(command: str) -> None:
    assert any(row.startswith(f"vconnect {command}") for row in WORDS)


def test_every_option_of_serve_is_documented() -> None:
    for option in root.commands["serve"].params:
        for name in (*option.opts, *option.secondary_opts):
            assert name in PAGE, name


@pytest.mark.parametrize("word", [*PluginStatus, *filter(None, Substate)])
def test_every_state_is_documented(word: str) -> None:
    assert word in WORDS


@pytest.mark.parametrize("status", PluginStatus)
def test_every_way_out_of_a_state_is_documented(status: PluginStatus) -> None:
    _, _, followers = next(row for row in TABLES if row[0] == f"`{status}`")
    assert {name for name in PluginStatus if f"`{name}`" in followers} == TRANSITIONS[status]
