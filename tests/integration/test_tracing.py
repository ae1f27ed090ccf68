"""Watching events pass: only while somebody watches, and without a change to what they become."""

from __future__ import annotations

from typing import Any

import pytest
from tests.support.lab import ECHO, until

from vconnect import HostCall
from vconnect.errors import PluginError
from vconnect.seeing.trace import Trace


async def test_each_way_of_sending_is_seen(lab) -> None:
    lab.plugin("a", ECHO)
    lab.plugin("down", "")
    async with lab.manager() as runtime:
        await runtime.discover_plugins()
        await runtime.start_plugin("a")
        seen: list[Trace] = []
        before = await runtime.request("a", "test.x", 1)
        leave = runtime.traces.watch(seen.append)
        assert (await runtime.emit("test.event", {"n": 1})).results[0].ok
        await runtime.broadcast("test.event", {"n": 1})
        assert await runtime.request("a", "test.x", 1) == before
        await runtime.request_result("a", "test.x", 1)
        runtime.notify("test.event", {})
        with pytest.raises(PluginError):
            await runtime.request("down", "test.x", 1)
        leave()
        await runtime.emit("test.event", {"n": 1})
    modes = [(one.mode, one.outcome) for one in seen]
    assert modes == [
        ("chain", "passed"),
        ("broadcast", "passed"),
        ("request", "passed"),
        ("request", "passed"),
        ("notify", "passed"),
        ("request", "failed"),
    ]
    assert seen[0].hops[0].plugin == "a"
    assert 0 < seen[0].hops[0].duration_s <= seen[0].duration_s < 10
    assert seen[-1].hops[0].outcome == "passed_over"
    assert seen[-1].is_notable
    assert all(one.payload is None for one in seen)


async def test_a_payload_is_seen_only_if_somebody_asks(lab) -> None:
    lab.plugin("a", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        seen: list[Trace] = []
        leave = runtime.traces.watch(seen.append)
        await runtime.emit("test.event", {"secret": 1})
        runtime.traces.keep_payloads(60)
        await runtime.emit("test.event", {"secret": 1})
        leave()
    assert [one.payload for one in seen] == [None, '{"secret":1}']


async def test_without_anybody_the_dispatcher_is_what_it_was(lab) -> None:
    async with lab.manager() as runtime:
        dispatcher: Any = runtime._dispatcher
        leave = runtime.traces.watch(lambda _: None)
        assert "emit" in vars(dispatcher)
        leave()
        assert not {"emit", "broadcast", "request", "request_result", "notify"} & {
            *vars(dispatcher)
        }


CALLER = """
from vconnect import Plugin, on, run_plugin

class Caller(Plugin):
    plugin_no = "wk.plugin.caller"

    @on("ask")
    async def ask(self, context):
        answer = await self.host.call_plugin("teller", "tell", None)
        await self.host.publish("said", None)
        await self.host.call("application.send", {})
        context.reply({"mine": context.trace, "called": answer})

run_plugin(Caller)
"""
TELLER = """
from vconnect import Plugin, on, run_plugin

class Teller(Plugin):
    plugin_no = "wk.plugin.teller"
    heard = None

    @on("tell", "sent", "said")
    def answer(self, context):
        if context.event == "said":
            self.heard = context.trace
        context.reply([context.trace, self.heard])

run_plugin(Teller)
"""
PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("way", ["emit", "broadcast", "request", "request_result"])
async def test_a_trace_goes_with_an_event_and_with_what_plugins_call_because_of_it(
    lab, way: str
) -> None:
    lab.plugin("caller", CALLER, permissions=["plugin.call", "event.publish", "application.send"])
    lab.plugin("teller", TELLER)
    sent: list[Any] = []
    async with lab.manager() as runtime:

        @runtime.host_call("application.send")
        async def send(call: HostCall) -> None:
            outcome = await runtime.emit("sent", None)
            sent.append((call.trace, outcome.results[0].data[0]))

        await runtime.start_all()
        if way in ("emit", "broadcast"):
            outcome = await getattr(runtime, way)("ask", 1, trace=PARENT)
            data = outcome.results[0].data
        elif way == "request":
            data = await runtime.request("caller", "ask", 1, trace=PARENT)
        else:
            data = (await runtime.request_result("caller", "ask", 1, trace=PARENT)).data
        _, heard = await runtime.request("teller", "tell", None)
        without = await runtime.request("caller", "ask", 1)
        runtime.notify("said", None, trace=PARENT)
        assert await runtime.request("teller", "tell", None) == [None, PARENT]
    assert data == {"mine": PARENT, "called": [PARENT, None]}
    assert heard == PARENT
    assert sent == [(PARENT, PARENT), (None, None)]
    assert without["mine"] is None
    assert without["called"][0] is None


async def test_what_a_plugin_publishes_is_seen(lab) -> None:
    lab.plugin("caller", CALLER, permissions=["plugin.call", "event.publish", "application.send"])
    lab.plugin("teller", TELLER)
    async with lab.manager() as runtime:
        runtime.host_call("application.send")(lambda _: None)
        await runtime.start_all()
        seen: list[Trace] = []
        leave = runtime.traces.watch(seen.append)
        await runtime.request("caller", "ask", 1)
        leave()
    assert {(one.event, one.mode) for one in seen} == {
        ("ask", "request"),
        ("tell", "request"),
        ("said", "notify"),
    }


CRASHES = "serve(lambda event: os.abort() if event['payload'] == 'bad' else {'status': 'ok'})"


async def test_what_is_in_quarantine_is_seen_as_passed_over(lab) -> None:
    lab.plugin("a", CRASHES)
    async with lab.manager(
        restart="on-failure", restart_delay=0.05, restart_max_delay=0.1
    ) as runtime:
        await runtime.start_all()
        for _ in range(2):
            outcome = await runtime.emit("e", "bad")
            assert outcome.results[0].passed_over is None
            await until(lambda: runtime.summary("a").serving)
        seen: list[Trace] = []
        leave = runtime.traces.watch(seen.append)
        outcome = await runtime.emit("e", "bad")
        leave()
    assert outcome.results[0].passed_over == "quarantine"
    assert [hop.outcome for hop in seen[0].hops] == ["passed_over"]
