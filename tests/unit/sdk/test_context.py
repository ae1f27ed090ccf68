import pytest

from vconnect import Context, Plugin


class Example(Plugin):
    plugin_no = "wk.plugin.example"
    config = {"name": "Ada"}  # noqa: RUF012


@pytest.fixture
def ctx():
    return Context(Example(), "message.incoming", {"content": "hello", "nothing": None})


def test_says_nothing_by_default(ctx):
    assert ctx.answer() == {"status": "ok"}


@pytest.mark.parametrize("data", [{"type": 1}, [1], "text", 0, False, None, {}])
def test_reply(ctx, data):
    ctx.reply(data)
    assert ctx.answer() == {"status": "ok", "data": data}


def test_the_last_reply_counts(ctx):
    ctx.reply(1)
    ctx.reply_error("no")
    assert ctx.answer() == {"status": "error", "message": "no"}
    ctx.reply(2)
    assert ctx.answer() == {"status": "ok", "data": 2}


def test_stop_stands_on_top(ctx):
    ctx.stop()
    assert ctx.answer() == {"status": "ok", "flow": "stop"}
    ctx.reply("why")
    assert ctx.answer() == {"status": "ok", "data": "why", "flow": "stop"}


@pytest.mark.parametrize("payload", [{"content": "new"}, None, []])
def test_replace(ctx, payload):
    ctx.replace(payload)
    assert ctx.answer() == {"status": "ok", "payload": payload}


def test_an_error_carries_nothing_else(ctx):
    ctx.reply(1)
    ctx.stop()
    ctx.replace({})
    ctx.reply_error("no")
    assert ctx.answer() == {"status": "error", "message": "no"}


def test_get(ctx):
    assert ctx.get("content") == "hello"
    assert ctx.get("missing") is None
    assert ctx.get("missing", 7) == 7
    assert ctx.get("nothing", 7) is None


@pytest.mark.parametrize("payload", [None, 1, "content", ["content"]])
def test_get_of_what_is_no_object(payload):
    assert Context(Example(), "x", payload).get("content", 7) == 7


def test_config_and_log_are_the_plugins(ctx):
    assert ctx.config == {"name": "Ada"}
    assert ctx.log.name == "example"
