"""The operator's pages hold every key, command, state and default that there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import msgspec
import pytest
from tests.support.fake_manager import FakeManager

from vconnect.admin.client.client import AdminClient
from vconnect.admin.http.problems import KINDS
from vconnect.admin.http.table import Route
from vconnect.admin.servers.administration import Administration
from vconnect.cli.commands.serve import serve
from vconnect.cli.root import root
from vconnect.errors import ConfigError
from vconnect.plugins.status import TRANSITIONS, PluginStatus, Substate
from vconnect.settings.events import EventPolicy, EventSettings
from vconnect.settings.limits import ResourceLimits, TreeLimits
from vconnect.settings.load import load_settings
from vconnect.settings.model import PluginOptions, Settings

DOCS = Path(__file__).parents[3] / "docs"
CONFIGURATION = (DOCS / "configuration.md").read_text(encoding="utf-8")
ISOLATION = (DOCS / "isolation.md").read_text(encoding="utf-8")
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8")
ADMINISTRATION = (DOCS / "administration.md").read_text(encoding="utf-8")
ERRORS = (DOCS / "errors.md").read_text(encoding="utf-8")
FIELDS = msgspec.structs.fields(Settings)
TABLES = {"config", "options", "events", "env", "sources"}


def rows(page: str, header: str) -> list[list[str]]:
    """The rows, by cell, of every table on a page whose header begins with ``header``."""
    found = []
    for table in re.findall(rf"^\| {header}.*\n\|[-|]+\n((?:\|.*\n)+)", page, re.MULTILINE):
        # A vertical bar inside a cell is written with a backslash before it.
        cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()]
        found += [[cell.strip() for cell in row] for row in cells]
    return found


def by_word(page: str, header: str) -> dict[str, list[str]]:
    return {row[0].strip("`"): row for row in rows(page, header)}


def plain(kind: Any) -> Any:
    """The type of a field without its bounds, and without ``None`` or unset."""
    if get_origin(kind) is Union or type(kind).__name__ == "UnionType":
        (kind,) = (part for part in get_args(kind) if part not in (type(None), msgspec.UnsetType))
    if hasattr(kind, "__metadata__"):
        kind = get_args(kind)[0]
    return kind


def type_name(field: msgspec.structs.FieldInfo) -> str:
    """How the pages call a field's type."""
    kind = plain(field.type)
    if get_origin(kind) is Literal:
        return "string"
    if get_origin(kind) is tuple:
        return "list of strings"
    words = {bool: "boolean", int: "integer", float: "seconds", str: "string"}
    return words.get(kind, "table")


def default_text(default: Any) -> str:
    """How the pages write a default."""
    if default is None or default is msgspec.NODEFAULT or default is msgspec.UNSET:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if isinstance(default, str):
        return f'`"{default}"`'
    if isinstance(default, tuple):
        return "`[" + ", ".join(f'"{item}"' for item in default) + "]`"
    if isinstance(default, int | float):
        return f"`{default}`"
    return "`{}`"


def default_of(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_key_is_documented_with_its_type_and_default(
    field: msgspec.structs.FieldInfo,
) -> None:
    _, kind, default, meaning = by_word(CONFIGURATION, "key ")[field.name]
    assert kind == type_name(field)
    assert default == default_text(default_of(field))
    assert meaning
    for word in get_args(plain(field.type)) if get_origin(plain(field.type)) is Literal else ():
        assert f'"{word}"' in meaning, word


def test_every_documented_key_exists_once() -> None:
    keys = [row[0].strip("`") for row in rows(CONFIGURATION, "key ")]
    assert sorted(keys) == sorted(field.name for field in FIELDS)


def is_read_from_the_environment(key: str) -> bool:
    variable = {f"VCONNECT_{key.upper()}": "a:b"}
    try:
        return load_settings(environ=variable) != load_settings()
    except ConfigError:  # not what the key expects, so it was read
        return True


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_key_but_the_tables_has_a_variable(field: msgspec.structs.FieldInfo) -> None:
    assert is_read_from_the_environment(field.name) == (field.name not in TABLES)


def test_the_tables_without_a_variable_are_named() -> None:
    (sentence,) = re.findall(r"set by its variable, except the tables ([^.]+)\.", CONFIGURATION)
    assert set(re.findall(r"`(\w+)`", sentence)) == TABLES


@pytest.mark.parametrize(
    "field", msgspec.structs.fields(PluginOptions), ids=lambda field: field.name
)
def test_every_option_of_a_plugin_is_documented(field: msgspec.structs.FieldInfo) -> None:
    _, kind, default, meaning = by_word(CONFIGURATION, "option \\| type ")[field.name]
    assert kind == type_name(field)
    of_the_host = field.default is None and field.name in Settings.__struct_fields__
    value = default_of(field)
    is_table = isinstance(value, msgspec.Struct)
    assert default == ("as `[plugins]`" if of_the_host else default_text({} if is_table else value))
    assert meaning


@pytest.mark.parametrize(
    "field", msgspec.structs.fields(EventSettings), ids=lambda field: field.name
)
def test_every_key_of_an_event_is_documented(field: msgspec.structs.FieldInfo) -> None:
    _, kind, default, meaning = by_word(CONFIGURATION, "event key ")[field.name]
    assert kind == type_name(field)
    defaults = EventPolicy(timeout=1, chain_timeout=1)
    in_force = {
        "timeout": "`event_timeout`",
        "chain_timeout": "`chain_timeout`",
        "default": "none",
    }
    assert default == in_force.get(field.name, default_text(getattr(defaults, field.name)))
    for word in get_args(plain(field.type)) if get_origin(plain(field.type)) is Literal else ():
        assert f'"{word}"' in meaning, word


def test_every_limit_is_documented() -> None:
    limits = {*ResourceLimits.__struct_fields__, *TreeLimits.__struct_fields__}
    assert set(by_word(ISOLATION, "key ")) == limits


def test_every_level_of_isolation_is_documented() -> None:
    assert set(by_word(ISOLATION, "`cgroup` ")) == {"auto", "on", "off"}
    assert set(by_word(ISOLATION, "`sandbox` ")) == {"off", "nnp", "landlock", "bwrap"}


@pytest.mark.parametrize("command", sorted(root.places))
def test_every_command_is_documented(command: str) -> None:
    assert any(row.startswith(f"vconnect {command}") for row in by_word(COMMANDS, "command "))


def test_every_option_of_serve_is_documented() -> None:
    for option in serve.params:
        for name in (*option.opts, *option.secondary_opts):
            assert f"`{name}" in CONFIGURATION or f"`{name}" in COMMANDS, name


@pytest.mark.parametrize("word", [*PluginStatus, *filter(None, Substate)])
def test_every_state_is_documented(word: str) -> None:
    states = by_word(ADMINISTRATION, "status \\| meaning ")
    assert word in {**states, **by_word(ADMINISTRATION, "substate ")}


@pytest.mark.parametrize("status", PluginStatus)
def test_every_way_out_of_a_state_is_documented(status: PluginStatus) -> None:
    _, _, followers = by_word(ADMINISTRATION, "status \\| meaning ")[status]
    assert {name for name in PluginStatus if f"`{name}`" in followers} == TRANSITIONS[status]


# Those that are no files of the page.
ROUTES = [
    one
    for one in Administration(FakeManager()).table.routes
    if not one.is_hidden and one.path not in ("/", "/{file}")
]
KEYS = [
    (f"{one.method} {one.path}", {field.name for field in msgspec.structs.fields(one.query)})
    for one in ROUTES
    if one.query is not None
]


@pytest.mark.parametrize("route", ROUTES, ids=lambda one: f"{one.method} {one.path}")
def test_every_route_is_documented(route: Route) -> None:
    assert re.search(rf"`{route.method} {re.escape(route.path)}[`?]", ADMINISTRATION)


@pytest.mark.parametrize(("route", "keys"), [one for one in KEYS if one[1]])
def test_every_key_of_a_query_is_documented(route: str, keys: set[str]) -> None:
    (told,) = re.findall(rf"^\| `{re.escape(route)}\?([^`]+)`", ADMINISTRATION, re.MULTILINE)
    assert {one.partition("=")[0] for one in told.split("&")} == keys


def sections(page: str) -> dict[str, str]:
    """The sections of a page by their headings, each as one line."""
    found = re.split(r"^## (.+)$", page, flags=re.MULTILINE)[1:]
    texts = [" ".join(text.split()) for text in found[1::2]]
    return dict(zip(found[::2], texts, strict=True))


@pytest.mark.parametrize("code", KINDS)
def test_every_error_has_its_section_with_its_status_and_the_next_step(code: str) -> None:
    kind = KINDS[code]
    old = f" (`{kind.old}`)" if kind.old else ""
    text = sections(ERRORS)[code]
    assert text.startswith(f"**{int(kind.status)}**{old} · {kind.title}. ")
    assert kind.next
    assert text.endswith(f" Next: {kind.next}.")


def test_every_documented_error_exists() -> None:
    assert set(sections(ERRORS)) == set(KINDS)


def test_every_method_of_the_client_is_documented() -> None:
    named = {name for row in rows(ADMINISTRATION, "for \\| methods") for name in row[1].split(", ")}
    public = {name for name in dir(AdminClient) if not name.startswith("_")}
    assert named == {f"`{name}`" for name in public}
