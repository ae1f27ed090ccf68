"""The native dialect between the kit and the manager: real plugins, both ends as they are."""

from __future__ import annotations

import asyncio
import os
import signal
import textwrap
from typing import Any

import msgspec
import pytest
from tests.support.lab import Lab, until, until_status

from vconnect import PluginError
from vconnect.dispatch.host_calls import HostCall
from vconnect.errors import (
    PluginReplyError,
    PluginStartError,
    PluginTimeoutError,
    PluginUnavailableError,
)
from vconnect.wire.messages import EVENT_NAMES

LOOPS = {
    "asyncio": "run_plugin(Made)",
    "uvloop": "import uvloop; uvloop.install(); run_plugin(Made)",
}
KIT = """
import asyncio
import warnings
from vconnect import Context, HostCallError, Plugin, on, run_plugin
warnings.simplefilter("ignore", DeprecationWarning)

class Made(Plugin):
    plugin_no = os.environ["VCONNECT_PLUGIN_NAME"]
{body}

{run}
"""

pytestmark = pytest.mark.both_loops


@pytest.fixture(params=LOOPS)
def kit(request: Any, lab: Lab) -> Any:
    """Install a plugin from the body of its class; its process runs on either loop."""

    def install(
        name: str, body: str, permissions: tuple[str, ...] = ("*",), **manifest: Any
    ) -> None:
        lines = "\n".join(f"    {line}" for line in body.strip("\n").splitlines())
        code = KIT.format(body=lines, run=LOOPS[request.param])
        lab.plugin(name, code, permissions=list(permissions), **manifest)

    return install


WORKER = """
concurrency = 4
capabilities = ["work", "told"]
told = 0

async def on_event(self, ctx):
    self.told += ctx.event == "told"
    sleep = ctx.get("sleep", 0)
    try:
        await asyncio.sleep(sleep)
    except asyncio.CancelledError:
        self.cancelled = ctx.get("n")
        raise
    ctx.reply({"n": ctx.get("n"), "left": ctx.time_left})

@on("state")
def state(self, ctx):
    ctx.reply({"told": self.told, "cancelled": getattr(self, "cancelled", None)})
"""


async def test_async_handlers_answer_out_of_order(lab: Lab, kit: Any) -> None:
    kit("worker", WORKER)
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("worker").dialect == "native"
        done: list[int] = []

        async def ask(n: int, sleep: float) -> None:
            answer = await runtime.request("worker", "work", {"n": n, "sleep": sleep})
            assert answer["n"] == n
            assert 0 < answer["left"] <= 5.0
            done.append(n)

        # The first sleeps until everything else is done, however slow that is.
        first = asyncio.create_task(runtime.request("worker", "work", {"n": -1, "sleep": 4.0}))
        await until(lambda: runtime.summary("worker").in_flight)
        await asyncio.gather(*(ask(n, 0.0) for n in range(200)))
        assert not first.done()
        assert sorted(done) == list(range(200))
        first.cancel()
        summary = runtime.summary("worker")
        assert (summary.errors, summary.late, summary.unasked) == (0, 0, 0)


async def test_cancel_reaches_the_handler(lab: Lab, kit: Any) -> None:
    kit("worker", WORKER)
    async with lab.manager() as runtime:
        await runtime.start_all()

        async def state() -> Any:
            return await runtime.request("worker", "state", {})

        call = asyncio.create_task(runtime.request("worker", "work", {"n": 1, "sleep": 60}))
        await until(lambda: runtime.summary("worker").in_flight)
        await state()  # it has read what was sent before
        call.cancel()
        while (await state())["cancelled"] != 1:
            pass
        await until(
            lambda: not runtime.summary("worker").in_flight, "the reply to what is cancelled"
        )
        for n, how in ((2, "emit"), (3, "broadcast")):
            outcome = await getattr(runtime, how)("work", {"n": n, "sleep": 60}, timeout=0.2)
            assert outcome.results[0].error_code == "deadline_exceeded"
            while (await state())["cancelled"] != n:
                pass
        with pytest.raises(PluginTimeoutError):
            await runtime.request("worker", "work", {"n": 4, "sleep": 60}, timeout=0.2)
        while (await state())["cancelled"] != 4:
            pass
        await until(lambda: not runtime.summary("worker").in_flight)
        assert runtime.summary("worker").late == 4


async def test_told_events_are_counted_by_nobody(lab: Lab, kit: Any) -> None:
    kit("worker", WORKER)
    async with lab.manager() as runtime:
        await runtime.start_all()
        for n in range(50):
            assert runtime.notify("told", {"n": n}) == 1
        assert runtime.summary("worker").in_flight == 0
        while (await runtime.request("worker", "state", {}))["told"] < 50:
            pass


CONFIGURED = """
config_type = dict[str, int]

def on_config_update(self, config):
    if config.get("n") == 13:
        raise RuntimeError("unlucky")

@on("config")
def tell(self, ctx):
    ctx.reply(ctx.config)
"""


async def test_a_configuration_is_checked_then_taken_over(lab: Lab, kit: Any) -> None:
    kit("made", CONFIGURED, config={"a": 1, "n": 1})
    async with lab.manager() as runtime:
        await runtime.start_all()

        async def config() -> Any:
            return await runtime.request("made", "config", {})

        assert await config() == {"a": 1, "n": 1}
        await runtime.update_config("made", {"n": 2})
        assert await config() == {"a": 1, "n": 2}
        for values, words in (({"n": "text"}, "expected `int`"), ({"n": 13}, "unlucky")):
            with pytest.raises(PluginReplyError, match=words):
                await runtime.update_config("made", values)
            assert await config() == {"a": 1, "n": 2}
        await runtime.restart_plugin("made")
        assert await config() == {"a": 1, "n": 2}  # what was accepted holds until the host ends


async def test_ping(lab: Lab, kit: Any) -> None:
    kit("made", CONFIGURED)
    lab.plugin("classic", "serve()")
    default = {"*": {"on_failure": "default", "default": {"status": "ok"}}}
    async with lab.manager(events=default) as runtime:
        await runtime.start_all()
        assert 0 < await runtime.ping("wk.plugin.made") < 5
        with pytest.raises(PluginUnavailableError, match="classic dialect"):
            await runtime.ping("classic")
        os.kill(runtime.summary("made").pid, signal.SIGSTOP)
        with pytest.raises(PluginTimeoutError):
            await runtime.ping("made", timeout=0.1)
        os.kill(runtime.summary("made").pid, signal.SIGCONT)
        assert await runtime.ping("made")
        await runtime.stop_plugin("made")
        with pytest.raises(PluginError):
            await runtime.ping("made")


async def test_drain_and_stop(lab: Lab, kit: Any) -> None:
    kit("worker", WORKER)
    async with lab.manager() as runtime:
        await runtime.start_all()

        def ask(name: str, event: str, payload: dict[str, Any]) -> Any:
            """Send one of the host's own events, before the host does."""
            session = runtime._registry.get(name).session
            assert session is not None
            return session.request(EVENT_NAMES[event], payload, 5.0)

        work = asyncio.create_task(runtime.request("worker", "work", {"n": 1, "sleep": 0.3}))
        await until(lambda: runtime.summary("worker").in_flight)
        await ask("worker", "vconnect.drain", {"grace_ms": 5000})
        await until(work.done)
        work = asyncio.create_task(runtime.request("worker", "work", {"n": 2, "sleep": 0.3}))
        await until(lambda: runtime.summary("worker").in_flight)
        await ask("worker", "vconnect.stop", {"grace_ms": 5000, "reason": "update"})
        assert (await work)["n"] == 2
        summary = await until_status(runtime, "worker", "Stopped")
        assert summary.exit_code == 0


# --- calls to the host -----------------------------------------------------------------------

CALLER = """
capabilities = ["call", "tell", "own"]
concurrency = {concurrency}

@on("call")
async def call(self, ctx):
    name, params = ctx.payload
    try:
        ctx.reply(await ctx.host.call(name, params, timeout=10))
    except HostCallError as error:
        ctx.reply_error(str(error), code=error.code)

@on("tell")
def tell(self, ctx):
    ctx.host.log("warn", "told by a plain handler", depth=1)

@on("own")
async def own(self, ctx):
    ctx.reply(["own", ctx.payload])
"""


def caller(concurrency: int = 1) -> str:
    return CALLER.format(concurrency=concurrency)


async def refusal(runtime: Any, plugin: str, name: str, params: Any) -> str:
    with pytest.raises(PluginReplyError) as caught:
        await runtime.request(plugin, "call", [name, params])
    return caught.value.code


async def test_calls_with_and_without_permission(lab: Lab, kit: Any, caplog: Any) -> None:
    caplog.set_level("INFO")
    kit("may", caller())
    kit("may.not", caller(), permissions=())
    kit("withdrawn", caller())
    options = {"withdrawn": {"withdraw": ["message.send"]}}
    async with lab.manager(options=options) as runtime:

        @runtime.host_call("message.send")
        async def send(call: HostCall) -> Any:
            return [call.plugin, call.params["text"], call.hops]

        await runtime.start_all()
        asked: list[Any] = ["message.send", {"text": "hi"}]
        assert await runtime.request("may", "call", asked) == ["may", "hi", 1]
        assert await refusal(runtime, "may.not", *asked) == "permission_denied"
        assert await refusal(runtime, "withdrawn", *asked) == "permission_denied"
        assert await refusal(runtime, "may", "no.such", {}) == "unknown_call"
        assert await refusal(runtime, "may", "event.publish", {"event": 7}) == "bad_request"
        await runtime.request("may", "tell", {})
        await until(lambda: "told by a plain handler depth=1" in caplog.text)


@pytest.mark.parametrize("concurrency", [1, 3])
async def test_a_plugin_may_call_from_inside_its_own_handler(
    lab: Lab, kit: Any, concurrency: int
) -> None:
    kit("a", caller(concurrency))
    kit("b", caller(concurrency))
    async with lab.manager() as runtime:

        @runtime.host_call("again")
        async def again(call: HostCall) -> Any:
            # The host asks the very plugin whose handler waits for this.
            return await runtime._dispatcher.request("a", "own", call.params, hops=call.hops)

        await runtime.start_all()
        itself = {"plugin": "a", "method": "own", "params": 7, "deadline_ms": 5000}
        assert await runtime.request("a", "call", ["plugin.call", itself]) == ["own", 7]
        assert await runtime.request("a", "call", ["again", {"x": 1}]) == ["own", {"x": 1}]
        # a asks b, which asks a, whose first handler is still waiting.
        inner = {"plugin": "a", "method": "own", "params": 8}
        outer = {"plugin": "b", "method": "call", "params": ["plugin.call", inner]}
        assert await runtime.request("a", "call", ["plugin.call", outer]) == ["own", 8]
        assert (
            await refusal(runtime, "a", "plugin.call", {"plugin": "nobody", "method": "m"})
            == "unknown_plugin"
        )


ROUND = """
capabilities = ["round"]

@on("round")
async def round(self, ctx):
    other = ctx.payload[0]
    try:
        ctx.reply(await ctx.host.call_plugin(other, "round", ctx.payload[::-1], timeout=10))
    except HostCallError as error:
        ctx.reply_error(str(error), code=error.code)
"""


async def test_two_plugins_that_ask_each_other_come_to_an_end(lab: Lab, kit: Any) -> None:
    kit("a", ROUND)
    kit("b", ROUND)
    async with lab.manager() as runtime:
        await runtime.start_all()
        outcome = await runtime.emit("round", ["b", "a"])
        first = {result.plugin: result for result in outcome.results}["a"]
        assert first.error_code == "loop"
        assert sum(runtime.summary(name).events for name in "ab") >= 9


LISTENER = """
capabilities = ["never"]
heard = []

async def on_start(self):
    await self.host.subscribe("room", "user.*")

async def on_event(self, ctx):
    self.heard.append([ctx.event, ctx.payload])

@on("heard")
def tell(self, ctx):
    ctx.reply(self.heard)

@on("leave")
async def leave(self, ctx):
    await ctx.host.unsubscribe("room")
"""

PUBLISHER = """
capabilities = ["go"]

@on("go")
async def go(self, ctx):
    ctx.reply(await ctx.host.publish(*ctx.payload))
"""


async def test_publish_and_subscribe(lab: Lab, kit: Any) -> None:
    kit("listener", LISTENER)
    kit("publisher", PUBLISHER)
    async with lab.manager() as runtime:
        await runtime.start_all()
        await until(lambda: runtime._registry.get("listener").session.subscriptions)

        async def publish(event: str, payload: Any) -> int:
            return await runtime.request("publisher", "go", [event, payload])

        assert await publish("room.created", 1) == 1
        assert await publish("user.online", 2) == 1
        assert await publish("other", 3) == 0
        await runtime.request("listener", "leave", {})
        assert await publish("room.created", 4) == 0
        wanted = [["room.created", 1], ["user.online", 2]]
        while (heard := await runtime.request("listener", "heard", {})) != wanted:
            assert len(heard) < 2, heard


FLOOD = """
capabilities = ["flood"]

@on("flood")
async def flood(self, ctx):
    calls = [self.host.call("slow", {}, timeout=30) for _ in range(ctx.payload)]
    results = await asyncio.gather(*calls, return_exceptions=True)
    codes = [result.code for result in results if isinstance(result, HostCallError)]
    ctx.reply([len(results) - len(codes), sorted(set(codes))])
"""


async def test_a_flood_of_calls_hurts_only_who_makes_it(lab: Lab, kit: Any) -> None:
    kit("flood", FLOOD)
    kit("other", caller())
    async with lab.manager(max_calls=20) as runtime:
        gate = asyncio.Event()

        @runtime.host_call("slow")
        async def slow(call: HostCall) -> None:
            await gate.wait()

        runtime.host_call("quick")(lambda call: call.plugin)
        await runtime.start_all()
        ask = runtime._dispatcher.request
        flood = asyncio.create_task(ask("flood", "flood", 2000, timeout=30))
        await until(lambda: runtime._calls._queues, "the flood")
        for _ in range(20):
            assert await runtime.request("other", "call", ["quick", {}]) == "other"
        assert not flood.done()
        gate.set()
        served, codes = await flood
        # How many are refused depends on how many come with one read; the rest is not read.
        assert set(codes) <= {"overloaded"}
        assert 16 <= served <= 2000


# --- beside the others -----------------------------------------------------------------------


async def test_a_plugin_that_cannot_serve_here_says_why(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.send({"plugin_no": "picky", "protocol_versions": [1], "disable": "no GPU here"})
    answer = connection.receive()
    sys.exit(0 if answer["code"] == "disabled" else 9)
    """
    lab.plugin("picky", code)
    lab.plugin("echo", "serve()")
    async with lab.manager() as runtime:
        await runtime.start_all()
        summary = await until_status(runtime, "picky", "Stopped")
        assert (summary.substate, summary.reason) == ("disabled", "no GPU here")
        assert summary.generation == 1
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_classic_and_native_plugins_in_one_chain(lab: Lab, kit: Any) -> None:
    kit(
        "native",
        """
capabilities = ["*"]
priority = 5

def on_event(self, ctx):
    ctx.reply("native")
    ctx.replace({"n": ctx.get("n") + 1})
""",
    )
    replace = "{'status': 'ok', 'data': 'classic', 'payload': {'n': event['payload']['n'] + 1}}"
    lab.plugin("classic", f"serve(lambda event: {replace}, priority=9)")
    lab.plugin("stops", "serve(lambda event: {'status': 'ok', 'flow': 'stop'}, priority=1)")
    lab.plugin("never", "serve(priority=0)")
    async with lab.manager() as runtime:
        await runtime.start_all()
        outcome = await runtime.emit("e", {"n": 0})
        assert [result.data for result in outcome.results] == ["classic", "native", None]
        assert (outcome.stopped_by, outcome.payload) == ("stops", {"n": 2})
        dialects = {s.name: s.dialect for s in runtime.runtime_summaries()}
        assert dialects["native"] == "native"
        assert dialects["classic"] == dialects["never"] == "classic"


async def test_a_reply_with_another_status_costs_one_event(lab: Lab) -> None:
    code = """
    connection = Connection()
    connection.greet(protocol_versions=[1])
    for event in connection.events():
        status = "fine" if event["payload"] else "ok"
        connection.send({"id": event["id"], "status": status})
    """
    lab.plugin("bad", code)
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(PluginReplyError, match="its status is 'fine'") as failed:
            await runtime.request("bad", "e", 1)
        assert failed.value.code == "bad_answer"
        assert await runtime.request("bad", "e", 0) is None


@pytest.mark.parametrize("answer", ["{'id': 1.5, 'status': 'ok'}"])
async def test_a_bad_reply_ends_the_connection_and_nothing_else(lab: Lab, answer: str) -> None:
    code = f"""
    connection = Connection()
    connection.greet(protocol_versions=[1])
    for event in connection.events():
        connection.send({answer})
    time.sleep(60)
    """
    lab.plugin("bad", code)
    lab.plugin("echo", "serve()")
    async with lab.manager() as runtime:
        await runtime.start_all()
        with pytest.raises(PluginUnavailableError, match="a reply's"):
            await runtime.request("bad", "e", {})
        await until_status(runtime, "bad", "Starting")
        assert "a reply's" in runtime.summary("bad").reason
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_what_the_host_does_not_take_is_not_sent(lab: Lab, kit: Any) -> None:
    kit(
        "large",
        """
@on("answer")
def answer(self, ctx):
    ctx.reply("x" * ctx.payload)

@on("call")
async def call(self, ctx):
    try:
        await ctx.host.call("echo", {"text": "x" * ctx.payload})
    except Exception as error:
        ctx.reply(type(error).__name__)
""",
    )
    async with lab.manager(max_answer_bytes=4096) as runtime:
        runtime.host_call("echo")(lambda call: call.params["text"])
        await runtime.start_all()
        assert len(await runtime.request("large", "answer", 4000)) == 4000
        with pytest.raises(PluginReplyError, match="max_answer_bytes"):
            await runtime.request("large", "answer", 5000)
        assert await runtime.request("large", "call", 5000) == "PayloadError"
        assert runtime.summary("large").status == "Running"


# --- interfaces ----------------------------------------------------------------------------------


async def test_the_highest_common_interface_reaches_the_plugin(kit, lab: Lab) -> None:
    body = """
    @on("which")
    def which(self, ctx):
        ctx.reply(self.interface)
    """
    kit("one", textwrap.dedent(body), interface=["chat/3", "chat/2", "chat/1"])
    kit("two", textwrap.dedent(body))
    async with lab.manager(interfaces=["chat/1", "chat/2"]) as runtime:
        await runtime.start_all()
        assert await runtime.request("one", "which", {}) == "chat/2"
        assert await runtime.request("two", "which", {}) == ""
        assert [one.interface for one in runtime.runtime_summaries()] == ["chat/2", ""]


async def test_a_plugin_for_other_events_is_not_started(lab: Lab) -> None:
    lab.plugin("one", "serve()", interface="chat/3")
    async with lab.manager(interfaces=["chat/2"]) as runtime:
        await runtime.start_all()
        one = runtime.summary("one")
        assert (one.status, one.substate) == ("Error", "spawn_failed")
        assert "written for the interface chat/3, and this host offers chat/2" in one.reason
    async with lab.manager(interfaces=["chat/2", "chat/3"]) as runtime:
        await runtime.start_all()
        assert runtime.summary("one").status == "Running"
        changed = msgspec.structs.replace(runtime.settings, interfaces=("chat/2",))
        (note,) = (await runtime.reload(changed, dry_run=True)).notes
        assert note.startswith("one: it is written for the interface chat/3")
        await runtime.reload(changed)
        assert runtime.summary("one").status == "Running"
        with pytest.raises(PluginStartError, match="this host offers chat/2"):
            await runtime.restart_plugin("one")
        assert runtime.summary("one").status == "Running"
