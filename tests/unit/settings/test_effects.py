"""Every key has a row that says what its change needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from vconnect.settings.effects import EFFECTS, OPTION_EFFECTS, Effect
from vconnect.settings.model import PluginOptions, Settings


@pytest.mark.parametrize(
    ("effects", "kind"), [(EFFECTS, Settings), (OPTION_EFFECTS, PluginOptions)]
)
def test_every_key_has_one_row(effects: dict[str, Effect], kind: type[msgspec.Struct]) -> None:
    assert set(effects) == set(kind.__struct_fields__)
    assert set(effects.values()) <= set(get_args(Effect))


def test_what_a_plugin_may_have_of_its_own_has_the_same_effect() -> None:
    for key, effect in OPTION_EFFECTS.items():
        if key in EFFECTS and key != "events":
            assert EFFECTS[key] == effect, key


def test_the_documentation_has_every_key_in_the_row_of_its_effect() -> None:
    page = Path(__file__).parents[3] / "docs" / "configuration.md"
    section = page.read_text().partition("## While the host runs")[2].partition("\n## ")[0]
    rows = [line.split("|")[2:4] for line in section.splitlines() if line.startswith("| ")][1:]
    effects = ("now", "next connection", "asked", "restart", "plugins", "host")
    for effect, cells in zip(effects, rows, strict=True):
        for cell, table in zip(cells, (EFFECTS, OPTION_EFFECTS), strict=True):
            documented = set(re.findall(r"`(\w+)`", cell))
            assert documented == {key for key, known in table.items() if known == effect}
