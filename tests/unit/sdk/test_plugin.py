import asyncio
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec
import pytest

from vconnect import ConfigError, Context, Plugin, on
from vconnect.sdk.plugin import build_handshake, check_plugin, convert_config


class Example(Plugin):
    plugin_no = "wk.plugin.example"
    version = "0.1.0"
    priority = 1

    @on("message.incoming")
    def message(self, ctx: Context) -> None: ...

    @on("user.*")
    def user(self, ctx: Context) -> None: ...


def test_handlers_are_the_capabilities_by_default():
    assert build_handshake(Example()) == {
        "type": "handshake",
        "plugin_no": "wk.plugin.example",
        "version": "0.1.0",
        "priority": 1,
        "capabilities": ["message.incoming", "user.*"],
        "protocol_versions": [1],
        "concurrency": 1,
    }


def test_listed_capabilities_are_declared_as_they_are():
    class Listed(Example):
        capabilities = ["message"]  # noqa: RUF012

    assert build_handshake(Listed())["capabilities"] == ["message"]


@pytest.mark.parametrize("plugin_no", ["example", "wk.plugin.example", "v.plugin.example"])
def test_the_name_has_no_prefix(plugin_no):
    plugin = Example()
    plugin.plugin_no = plugin_no
    assert plugin.name == "example"
    assert plugin.log.name == "example"


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("plugin_no", "", "Example.plugin_no is ''; expected a name such as"),
        ("plugin_no", "../x", "Example.plugin_no is '../x'"),
        ("plugin_no", None, "Example.plugin_no is None"),
        ("version", 1, "Example.version is 1; expected a string"),
        ("priority", "high", "Example.priority is 'high'; expected an integer"),
        ("priority", True, "Example.priority is True"),
        ("concurrency", 0, "Example.concurrency is 0; expected 1 or more"),
        ("capabilities", "message", "Example.capabilities is the string 'message'"),
        ("capabilities", ["mess*"], r"Example.capabilities: got 'mess\*'"),
        ("capabilities", [7], "Example.capabilities: got 7"),
    ],
)
def test_mistakes_of_the_author(attribute, value, message):
    plugin = Example()
    setattr(plugin, attribute, value)
    with pytest.raises(TypeError, match=message):
        check_plugin(plugin)


def test_a_plugin_that_gets_no_events_is_warned_of(caplog):
    class Deaf(Plugin):
        plugin_no = "deaf"

    check_plugin(Deaf())
    assert "it will not get any events" in caplog.text


@dataclass
class Settings:
    name: str = "Ada"
    words: list[str] = field(default_factory=list)
    share: Annotated[float, msgspec.Meta(le=1)] = 0.5


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Typed(Example):
    config_type = Settings


def test_a_dataclass():
    assert convert_config(Typed(), {}) == Settings()
    values = {"name": "Bob", "words": ["a"], "other": 1}
    assert convert_config(Typed(), values) == Settings("Bob", ["a"])


def test_no_type_leaves_it_as_it_came():
    assert convert_config(Example(), {"a": [1]}) == {"a": [1]}


@pytest.mark.parametrize(
    ("config_type", "values", "message"),
    [
        (Settings, {"name": 7}, r"^\$\.name: expected `str`, got `int`$"),
        (Settings, {"words": ["a", 7]}, r"^\$\.words\[1\]: expected `str`, got `int`$"),
        (Settings, {"share": 2}, r"^\$\.share: expected `float` <= 1\.0$"),
        (Strict, {}, r"^\$: object missing required field `name`$"),
        (Strict, {"name": "a", "nam": "b"}, r"^\$: object contains unknown field `nam`$"),
    ],
)
def test_a_wrong_configuration_names_the_path(config_type, values, message):
    plugin = Example()
    plugin.config_type = config_type
    with pytest.raises(ConfigError, match=message):
        convert_config(plugin, values)


class Near(msgspec.Struct, rename="camel"):
    room_id: str = ""


class Red(msgspec.Struct, tag="red"):
    depth: int = 0


class Blue(msgspec.Struct, tag="blue"):
    shade: int = 0


@dataclass
class Nested:
    near: Near | None = None
    rooms: dict[str, Near] = field(default_factory=dict)
    many: Annotated[list[Near], msgspec.Meta(title="rooms")] = field(default_factory=list)
    color: Red | Blue | None = None
    free: dict[str, Any] = field(default_factory=dict)


@pytest.mark.parametrize(
    ("config_type", "values", "told"),
    [
        (Settings, {"nmae": "Bob"}, ["$.nmae; did you mean 'name'?"]),
        (Settings, {"wrds": [], "xyz": 1}, ["$.wrds; did you mean 'words'?", "$.xyz"]),
        (Nested, {"near": {"roomid": "a"}}, ["$.near.roomid; did you mean 'roomId'?"]),
        (Nested, {"near": {"roomId": "a"}}, []),
        (Nested, {"rooms": {"a": {"b": 1}}}, ["$.rooms.a.b"]),
        (Nested, {"many": [{}, {"rooomId": "a"}]}, ["$.many[1].rooomId; did you mean 'roomId'?"]),
        (Nested, {"color": {"type": "blue", "shde": 1}}, ["$.color.shde; did you mean 'shade'?"]),
        (Nested, {"color": {"type": "red", "depth": 1}}, []),
        (Nested, {"free": {"what": {"ever": 1}}, "near": None}, []),
    ],
)
def test_a_key_that_its_type_does_not_have_is_told_with_the_nearest_one(
    config_type, values, told, caplog
):
    plugin = Example()
    plugin.config_type = config_type
    convert_config(plugin, values)
    convert_config(plugin, values)  # as at a new connection
    words = [f"unknown key in the configuration: {one}" for one in told]
    assert [(one.levelname, one.message) for one in caplog.records] == [
        ("WARNING", line) for line in words
    ]


def test_methods_do_nothing_by_default():
    plugin = Example()
    assert plugin.on_start() is None
    assert plugin.on_stop() is None
    assert plugin.on_config_update({}) is None
    assert plugin.on_event(Context(plugin, "x", None)) is None


def test_it_needs_no_base_init():
    class Own(Example):
        def __init__(self) -> None:
            self.lock = asyncio.Lock()

    check_plugin(Own())
