import pytest

from vconnect import Context, Plugin, on
from vconnect.sdk.handlers import collect_handlers, find_handler


class Many(Plugin):
    plugin_no = "wk.plugin.many"

    def on_event(self, ctx: Context) -> None: ...

    @on("*")
    def everything(self, ctx: Context) -> None: ...

    @on("user")
    def family(self, ctx: Context) -> None: ...

    @on("user.**")
    def deep(self, ctx: Context) -> None: ...

    @on("user.*")
    def level(self, ctx: Context) -> None: ...

    @on("user.online", "user.offline")
    def exact(self, ctx: Context) -> None: ...

    @on("user.device.**")
    def devices(self, ctx: Context) -> None: ...


@pytest.mark.parametrize(
    ("event", "method"),
    [
        ("user.online", "exact"),
        ("user.offline", "exact"),
        ("user.renamed", "level"),
        ("user.mail.changed", "deep"),
        ("user", "family"),
        ("user.device.added", "devices"),
        ("user.device.screen.on", "devices"),
        ("user.device", "level"),
        ("message.incoming", "everything"),
    ],
)
def test_the_most_specific_handler_wins(event, method):
    plugin = Many()
    assert find_handler(plugin, plugin._handlers, event) == getattr(plugin, method)


def test_what_no_handler_covers_goes_to_on_event():
    class Few(Plugin):
        @on("user.online")
        def exact(self, ctx: Context) -> None: ...

    plugin = Few()
    assert find_handler(plugin, plugin._handlers, "user.offline") == plugin.on_event


def test_patterns_stand_in_the_order_written():
    assert list(Many._handlers)[:4] == ["*", "user", "user.**", "user.*"]


def test_decorators_add_up():
    class Both(Plugin):
        @on("a")
        @on("b")
        def take(self, ctx: Context) -> None: ...

    assert collect_handlers(Both) == {"b": "take", "a": "take"}


def test_a_subclass_inherits_and_overrides():
    class Child(Many):
        @on("user.online")
        def exact(self, ctx: Context) -> None: ...

        @on("room.created")
        def room(self, ctx: Context) -> None: ...

    plugin = Child()
    assert find_handler(plugin, plugin._handlers, "user.online") == plugin.exact
    assert find_handler(plugin, plugin._handlers, "user.renamed") == plugin.level
    assert "user.offline" not in plugin._handlers
    assert "room.created" in plugin._handlers


def test_two_handlers_of_one_event_are_refused():
    with pytest.raises(TypeError, match=r"both first\(\) and second\(\) handle 'a'"):

        class Twice(Plugin):
            @on("a")
            def first(self, ctx: Context) -> None: ...

            @on("a")
            def second(self, ctx: Context) -> None: ...


def test_on_needs_events():
    with pytest.raises(TypeError, match="requires the events"):
        on()
    with pytest.raises(TypeError, match="requires the events"):

        @on  # type: ignore[arg-type]
        def handler(self, ctx): ...


@pytest.mark.parametrize("pattern", ["", "mess*", "*.incoming", "user.*.added", "a b", "***", 7])
def test_patterns_that_match_nothing_are_refused(pattern):
    with pytest.raises(TypeError, match="expected an event"):
        on(pattern)


@pytest.mark.parametrize("pattern", ["*", "**", "a", "a.b", "a.*", "a.b.**", "user:online"])
def test_patterns(pattern):
    assert on(pattern)
