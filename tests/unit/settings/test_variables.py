"""Variables that look like the host's, but are not read."""

from __future__ import annotations

import pytest

from vconnect.settings.model import Settings
from vconnect.settings.variables import TABLES, count_edits, find_mistakes, variable_of


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("VCONNECT_WINDW", "VCONNECT_WINDOW"),
        ("VCONNECT_WIDNWO", "VCONNECT_WINDOW"),
        ("VCONNECT_SOCKET_PTH", "VCONNECT_SOCKET_PATH"),
        ("VCONNECT_SOCKETPATH", "VCONNECT_SOCKET_PATH"),
        ("VCONNECT_ADMN", "VCONNECT_ADMIN"),
        ("VCONNECT_debug", None),  # another word: variables are in upper case
        ("VCONNECT_SOCKET", None),
        ("VCONNECT_UNKNOWN", None),
        ("VCONECT_WINDOW", None),
    ],
)
def test_within_two_edits_the_nearest_one_is_named(name, meant):
    told = [f"{name} is ignored: unknown variable; did you mean {meant}?"] if meant else []
    assert find_mistakes([name, "PATH"]) == told


def test_what_is_read_is_no_mistake():
    read = [variable_of(key) for key in Settings.__struct_fields__ if key not in TABLES]
    assert find_mistakes([*read, "VCONNECT_ADMIN"]) == []


@pytest.mark.parametrize(
    "name",
    [
        "VCONNECT_DATA_DIR",
        "VCONNECT_PACKAGE_DIR",
        "VCONNECT_PLUGIN_NAME",
        "VCONNECT_HOST_PID",
        "VCONNECT_SECRET_DEBUG_FILE",
        "VCONNECT_TOKEN_DIR",
        "VCONNECT_TOKEN_",
        "VCONNECT_WERROR",
        "VCONNECT_SOAK_S",
    ],
)
def test_the_variables_of_others_are_never_named(name):
    assert find_mistakes([name]) == []


def test_a_variable_that_plugins_inherit_is_theirs():
    assert find_mistakes(["VCONNECT_LOG_DIRS"], ["VCONNECT_LOG_DIRS"]) == []
    assert find_mistakes(["VCONNECT_LOG_DIRS"]) != []


@pytest.mark.parametrize("table", TABLES)
def test_a_table_cannot_be_set_by_a_variable(table):
    (told,) = find_mistakes([variable_of(table)])
    assert told.startswith(f"{variable_of(table)} is ignored: a table cannot be set by a variable")


@pytest.mark.parametrize(
    ("one", "other", "edits"),
    [("", "", 0), ("", "ab", 2), ("ab", "ba", 1), ("abc", "abc", 0), ("kitten", "sitting", 3)],
)
def test_edits_are_counted(one, other, edits):
    assert count_edits(one, other) == count_edits(other, one) == edits
