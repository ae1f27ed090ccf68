"""What a native plugin may ask of the host, over a socket whose other end is in the test's hand."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tests.support.lab import Lab, until

from vconnect import HostCallError, PluginRuntimeManager
from vconnect.dispatch.host_calls import HostCall
from vconnect.errors import ConfigError

pytestmark = pytest.mark.both_loops

ALL = ("*",)


class Native:
    """A native plugin by hand: an external one, whose permissions the test gives it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.welcome: dict[str, Any] = {}
        self._next = 0

    async def read(self) -> dict[str, Any]:
        async with asyncio.timeout(20):
            size = int.from_bytes(await self.reader.readexactly(4), "big")
            return json.loads(await self.reader.readexactly(size))

    async def write(self, *messages: Any) -> None:
        frames = [json.dumps(message, ensure_ascii=False).encode() for message in messages]
        self.writer.write(b"".join(len(data).to_bytes(4, "big") + data for data in frames))
        await self.writer.drain()

    async def call(self, name: str, params: Any = None, **fields: Any) -> dict[str, Any]:
        """Call, and return the reply without its id."""
        self._next += 1
        await self.write({"id": self._next, "call": name, "params": params or {}, **fields})
        reply = await self.read()
        assert reply.pop("id") == self._next
        return reply

    async def refused(self, name: str, params: Any = None, **fields: Any) -> tuple[str, str]:
        reply = await self.call(name, params, **fields)
        assert reply["status"] == "error"
        return reply["code"], reply["message"]


@asynccontextmanager
async def attached(
    runtime: PluginRuntimeManager, lab: Lab, name: str, permissions: tuple[str, ...] = ALL
) -> AsyncIterator[Native]:
    plugin = Native(*await asyncio.open_unix_connection(lab.socket))
    await plugin.write(
        {"plugin_no": name, "capabilities": ["own." + name], "protocol_versions": [1]}
    )
    plugin.welcome = await plugin.read()
    assert plugin.welcome["protocol_version"] == 1
    known = runtime._registry.get(name)
    assert known.session is not None
    known.session.permissions = permissions
    try:
        yield plugin
    finally:
        plugin.writer.close()
        await until(lambda: known.session is None, "the end of the session")


async def test_the_terms_of_a_session(lab: Lab) -> None:
    options = {"window": 7, "heartbeat": 2.5, "max_frame_bytes": 4096, "max_answer_bytes": 2048}
    async with (
        lab.manager(allow_external=True, **options) as runtime,
        attached(runtime, lab, "a") as plugin,
    ):
        host = plugin.welcome.pop("host")
        assert (host["name"], bool(host["version"])) == ("vconnect", True)
        assert plugin.welcome == {
            "status": "ok",
            "config": {},
            "protocol_version": 1,
            "max_frame_bytes": 4096,
            "max_answer_bytes": 2048,
            "heartbeat_ms": 2500,
            "window": 7,
        }
        assert runtime.summary("a").dialect == "native"


async def test_the_applications_own_calls(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:
        heard: list[HostCall] = []

        @runtime.host_call("message.send")
        async def send(call: HostCall) -> dict[str, int]:
            heard.append(call)
            await asyncio.sleep(0)
            return {"sent": len(heard)}

        @runtime.host_call("sum")
        def add(call: HostCall) -> int:
            return sum(call.params["numbers"])

        @runtime.host_call("refuse")
        def refuse(call: HostCall) -> None:
            raise HostCallError("not_found", "no such user")

        @runtime.host_call("unsendable")
        def unsendable(call: HostCall) -> object:
            return object()

        @runtime.host_call("wordy")
        def wordy(call: HostCall) -> None:
            raise HostCallError("c" * 10_000, "\ud800" + "\x7f" * (1 << 24))

        for taken in ("sum", "log", "plugin.call"):
            with pytest.raises(ConfigError, match="already registered"):
                runtime.host_call(taken)(add)
        async with attached(runtime, lab, "a") as plugin:
            reply = await plugin.call("message.send", {"to": "x"}, hops=2)
            assert reply == {"status": "ok", "data": {"sent": 1}}
            asked = heard[0]
            assert (asked.plugin, asked.call, asked.params, asked.hops) == (
                *("a", "message.send", {"to": "x"}, 3),
            )
            assert await plugin.call("sum", {"numbers": [1, 2]}) == {"status": "ok", "data": 3}
            assert await plugin.refused("refuse") == ("not_found", "no such user")
            code, words = await plugin.refused("sum")  # a KeyError of the application
            assert (code, words) == ("internal", "sum failed; the reason is in the host's log")
            assert "cannot be sent" in (await plugin.refused("unsendable"))[1]
            code, words = await plugin.refused("wordy")
            assert (len(code), len(words)) == (64, 1000)
            await plugin.write({"call": "message.send", "params": {}})  # told: no reply
            assert (await plugin.call("sum", {"numbers": []}))["data"] == 0
            assert len(heard) == 2


@pytest.mark.parametrize(
    ("asked", "withdrawn", "allowed"),
    [
        ((), (), False),
        (("x.y",), (), True),
        (("x",), (), True),
        (("x.*",), (), True),
        (("*",), (), True),
        (("x.z", "plugin.call"), (), False),
        (("x.y",), ("x.y",), False),
        (("x.y",), ("x",), False),
        (("*",), ("x.y",), False),
        (("x",), ("x.*",), False),
        (("*",), ("*",), False),
        (("x.y",), ("x.z",), True),
    ],
)
async def test_a_call_needs_a_permission(lab, asked, withdrawn, allowed) -> None:
    options = {"wk.plugin.a": {"withdraw": list(withdrawn)}}
    async with lab.manager(allow_external=True, options=options) as runtime:
        runtime.host_call("x.y")(lambda call: "done")
        async with attached(runtime, lab, "a", asked) as plugin:
            if allowed:
                assert (await plugin.call("x.y"))["data"] == "done"
            else:
                code, words = await plugin.refused("x.y")
                assert code == "permission_denied"
                assert "a may not call x.y" in words
                assert "'x.y'" in words


async def test_each_of_the_hosts_own_calls_needs_its_permission(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:
        async with attached(runtime, lab, "a", ()) as plugin:
            for name in (
                *("log", "event.publish", "event.subscribe", "event.unsubscribe", "plugin.call"),
            ):
                assert (await plugin.refused(name))[0] == "permission_denied"
            assert (await plugin.refused("no.such"))[0] == "unknown_call"
        async with attached(runtime, lab, "b", ("event.subscribe",)) as plugin:
            assert (await plugin.call("event.subscribe", {"events": ["x"]}))["status"] == "ok"
            assert (await plugin.call("event.unsubscribe", {"events": ["x"]}))["status"] == "ok"


DEEP: Any = 1
for _ in range(240):
    DEEP = [DEEP]

BAD = [
    ("log", {"level": 7}),
    ("log", {"level": ["info"]}),
    ("log", {"level": DEEP}),
    ("log", {"message": DEEP}),
    ("log", {"message": 7}),
    ("log", {"message": "x", "fields": [1]}),
    ("event.publish", {}),
    ("event.publish", {"event": ""}),
    ("event.publish", {"event": 7}),
    ("event.publish", {"event": "vconnect.stop"}),
    ("event.publish", {"event": DEEP}),
    ("event.publish", {"event": ["\x7f" * 100_000] * 10}),
    ("event.subscribe", {}),
    ("event.subscribe", {"events": "x"}),
    ("event.subscribe", {"events": ["x", 7]}),
    ("event.subscribe", {"events": [""]}),
    ("event.subscribe", {"events": [f"e{n}" for n in range(1025)]}),
    ("event.unsubscribe", {"events": None}),
    ("plugin.call", {}),
    ("plugin.call", {"plugin": "a"}),
    ("plugin.call", {"plugin": "a", "method": 7}),
    ("plugin.call", {"plugin": "a", "method": "vconnect.ping"}),
    ("plugin.call", {"plugin": DEEP, "method": "m"}),
    ("plugin.call", {"plugin": "a", "method": "m", "deadline_ms": "soon"}),
    ("plugin.call", {"plugin": "a", "method": "m", "deadline_ms": 0}),
    ("plugin.call", {"plugin": "a", "method": "m", "deadline_ms": True}),
]


async def test_bad_requests_are_told_and_harm_nothing(lab: Lab, caplog: Any) -> None:
    async with (
        lab.manager(allow_external=True) as runtime,
        attached(runtime, lab, "a") as plugin,
    ):
        for name, params in BAD:
            code, words = await plugin.refused(name, params)
            assert (code, len(words) <= 1000) == ("bad_request", True), (name, words)
        for message in (
            {"call": 7},
            {"call": "log", "params": []},
            {"call": "log", "params": 7},
            {"call": "log", "hops": -1},
            {"call": "log", "hops": "x"},
            {"event": "not for the host"},
            {},
        ):
            await plugin.write({"id": 900, **message})
            reply = await plugin.read()
            assert (reply["id"], reply["code"]) == (900, "bad_request"), message
            await plugin.write(message)  # without an id there is nobody to tell
        for number in (0, -1):
            await plugin.write({"id": number, "call": "log"})
            assert (await plugin.read())["code"] == "bad_request"
        for wrong in (True, "1", 1.5, None, [1]):
            await plugin.write({"id": wrong, "call": 7})  # cannot be answered
        code, words = await plugin.refused("\x7f" * 4_000_000)
        assert (code, len(words) <= 1000) == ("unknown_call", True)
        assert await plugin.refused("plugin.call", {"plugin": "x" * 4_000_000, "method": "m"})
        assert (await plugin.call("log", {"message": "fine"}))["status"] == "ok"
    assert not [record for record in caplog.records if record.exc_info]


async def test_what_is_logged(lab: Lab, caplog: Any) -> None:
    caplog.set_level("DEBUG")
    async with (
        lab.manager(allow_external=True) as runtime,
        attached(runtime, lab, "a") as plugin,
    ):
        fields = {"user": "u1", "n": 7, "deep": DEEP}
        params = {"level": "warn", "message": "look\x1b[2J", "fields": fields}
        assert (await plugin.call("log", params))["status"] == "ok"
    [record] = [r for r in caplog.records if "look" in r.getMessage()]
    assert record.levelname == "WARNING"
    assert record.name.endswith(".a")
    assert "user=u1 n=7 deep=" in record.getMessage()
    assert "\x1b" not in record.getMessage()


# --- turns -----------------------------------------------------------------------------------


async def test_a_flood_is_served_in_turns_and_has_an_end(lab: Lab) -> None:
    async with lab.manager(allow_external=True, max_calls=50) as runtime:
        gate = asyncio.Event()
        order: list[str] = []

        @runtime.host_call("slow")
        async def slow(call: HostCall) -> None:
            order.append(call.plugin)
            await gate.wait()

        runtime.host_call("quick")(lambda call: order.append(call.plugin))
        async with (
            attached(runtime, lab, "flood") as flood,
            attached(runtime, lab, "other") as other,
        ):
            await flood.write(*({"id": n, "call": "slow"} for n in range(1, 1001)))
            # Those of one read wait together; 16 of them are served, then as many more may wait.
            replies = [await flood.read() for _ in range(1000 - 16 - 50)]
            assert {reply["code"] for reply in replies} == {"overloaded"}
            await until(lambda: len(order) == 16)
            await asyncio.sleep(0.05)
            assert order == ["flood"] * 16  # no more at once
            # The other one's calls go through, each at once.
            for _ in range(20):
                assert (await other.call("quick"))["status"] == "ok"
            assert order.count("other") == 20
            gate.set()
            replies += [await flood.read() for _ in range(66)]
            assert sorted(reply["id"] for reply in replies) == list(range(1, 1001))
            assert 50 <= sum(reply["status"] == "ok" for reply in replies) <= 66


async def test_a_flood_that_waits_for_nothing_loses_no_call(lab: Lab) -> None:
    async with lab.manager(allow_external=True, max_calls=50) as runtime:
        seen: list[int] = []
        runtime.host_call("quick")(lambda call: seen.append(call.params["n"]))
        async with attached(runtime, lab, "flood") as flood:
            # Nobody could tell it of one that is refused.
            await flood.write(*({"call": "quick", "params": {"n": n}} for n in range(20_000)))
            assert (await flood.call("quick", {"n": -1}))["status"] == "ok"
        assert seen == [*range(20_000), -1]


async def test_calls_that_wait_for_their_own_plugin_are_not_kept_waiting(lab: Lab) -> None:
    async with lab.manager(allow_external=True, max_calls=50) as runtime:

        @runtime.host_call("ask")
        async def ask(call: HostCall) -> Any:
            return await runtime.request(call.plugin, "e", call.params["n"], timeout=15.0)

        async with attached(runtime, lab, "a") as plugin:
            # The answers come behind all of these, in one stream.
            await plugin.write(
                *({"id": n, "call": "ask", "params": {"n": n}} for n in range(1, 1001))
            )
            replies: dict[int, Any] = {}
            while len(replies) < 1000:
                message = await plugin.read()
                if "event" in message:
                    data = message["payload"]
                    await plugin.write({"id": message["id"], "status": "ok", "data": data})
                else:
                    replies[message["id"]] = message
        answered = [n for n, reply in replies.items() if reply["status"] == "ok"]
        assert len(answered) >= 16
        assert all(replies[n]["data"] == n for n in answered)
        # Each of its calls may be made for an event that has come through it before.
        codes = {reply["code"] for reply in replies.values() if reply["status"] != "ok"}
        assert codes <= {"overloaded", "loop"}


async def test_two_floods_are_served_alternately(lab: Lab) -> None:
    async with lab.manager(allow_external=True, max_calls=2000) as runtime:
        order: list[str] = []
        runtime.host_call("quick")(lambda call: order.append(call.plugin))
        async with attached(runtime, lab, "a") as a, attached(runtime, lab, "b") as b:
            calls = [{"id": n, "call": "quick"} for n in range(1, 1001)]
            # Both lie in the sockets before either is read: this holds the loop.
            for plugin in (a, b):
                frames = [json.dumps(call).encode() for call in calls]
                data = b"".join(len(f).to_bytes(4, "big") + f for f in frames)
                plugin.writer.write(data)
            for plugin in (a, b):
                for n in range(1, 1001):
                    assert (await plugin.read())["id"] == n
        both = order[order.index("b") : len(order) - order[::-1].index("a")]
        assert len(both) > 200
        assert all(both[n : n + 2].count("a") == 1 for n in range(len(both) - 2))


async def test_calls_of_a_connection_that_ends_are_cancelled(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:
        begun: list[int] = []
        cancelled: list[int] = []

        @runtime.host_call("slow")
        async def slow(call: HostCall) -> None:
            begun.append(call.params["n"])
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancelled.append(call.params["n"])
                raise

        async with attached(runtime, lab, "a") as plugin:
            await plugin.write(
                *({"id": n, "call": "slow", "params": {"n": n}} for n in range(1, 41))
            )
            await until(lambda: runtime._calls._queues)
            await until(
                lambda: any(len(line.tasks) == 16 for line in runtime._calls._queues.values())
            )
        await until(lambda: len(cancelled) == 16)
        assert sorted(cancelled) == list(range(1, 17))
        assert not runtime._calls._queues


async def test_calls_that_have_not_begun_end_without_a_word(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:

        @runtime.host_call("abort")
        def abort(call: HostCall) -> None:
            # Its own connection ends in the very turn in which the others' tasks were made.
            runtime._registry.get("a").session.abort()
            runtime._calls.forget(runtime._registry.get("a").session)

        @runtime.host_call("slow")
        async def slow(call: HostCall) -> None:
            await asyncio.sleep(60)

        async with attached(runtime, lab, "a") as plugin:
            await plugin.write({"id": 1, "call": "slow"}, {"id": 2, "call": "abort"})
            assert await plugin.reader.read() == b""


# --- from plugin to plugin -------------------------------------------------------------------


async def test_publish_subscribe_and_unsubscribe(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:
        async with attached(runtime, lab, "a") as a, attached(runtime, lab, "b") as b:
            publish = {"event": "room.created", "payload": {"n": 1}}
            assert (await a.call("event.publish", publish))["data"] == {"plugins": 0}
            await b.call("event.subscribe", {"events": ["room", "user.*"]})
            await a.call("event.subscribe", {"events": ["room"]})  # never told its own
            assert (await a.call("event.publish", publish))["data"] == {"plugins": 1}
            assert await b.read() == {"event": "room.created", "payload": {"n": 1}, "hops": 1}
            assert runtime.notify("user.online", 7) == 1
            assert await b.read() == {"event": "user.online", "payload": 7}
            assert runtime.notify("own.a", 1) == 1
            assert await a.read() == {"event": "own.a", "payload": 1}
            # A subscription is for what is told, and asks nobody.
            assert (await runtime.emit("room.created", {})).results == []
            await b.call("event.unsubscribe", {"events": ["room", "not.subscribed"]})
            assert (await a.call("event.publish", publish))["data"] == {"plugins": 0}
            assert runtime.notify("user.online", 8) == 1
            assert (await b.read())["payload"] == 8
        assert runtime.notify("user.online", 9) == 0


async def test_a_plugin_asks_another_one(lab: Lab) -> None:
    async with lab.manager(allow_external=True) as runtime:
        async with attached(runtime, lab, "a") as a, attached(runtime, lab, "b") as b:
            asked = {"plugin": "wk.plugin.b", "method": "sum", "params": [1], "deadline_ms": 5000}
            for reply, expected in (
                ({"status": "ok", "data": 3}, {"status": "ok", "data": 3}),
                (
                    {"status": "error", "code": "busy", "message": "not now"},
                    {"status": "error", "code": "busy", "message": "b: not now"},
                ),
            ):
                task = asyncio.create_task(a.call("plugin.call", asked))
                event = await b.read()
                assert 0 < event.pop("deadline_ms") <= 5000
                number = event.pop("id")
                assert event == {"event": "sum", "payload": [1], "hops": 1}
                await b.write({"id": number, **reply})
                assert await task == expected
            assert (await a.refused("plugin.call", {**asked, "plugin": "c"}))[0] == "unknown_plugin"
            refused = asyncio.create_task(a.refused("plugin.call", {**asked, "deadline_ms": 20}))
            number = (await b.read())["id"]
            assert (await refused)[0] == "deadline_exceeded"
            assert await b.read() == {"event": "vconnect.cancel", "payload": {"id": number}}
        # Both are gone; one that is known and away is another error than one that never was.
        async with attached(runtime, lab, "a") as a:
            assert (await a.refused("plugin.call", asked))[0] == "unavailable"


async def test_a_chain_ends_at_its_eighth_plugin(lab: Lab) -> None:
    async with (
        lab.manager(allow_external=True) as runtime,
        attached(runtime, lab, "a") as a,
        attached(runtime, lab, "b") as b,
    ):
        depths = []

        async def serve(plugin: Native, other: str) -> None:
            """Ask the other for whatever one is asked for; without telling the hops."""
            names: dict[int, int] = {}
            while True:
                message = await plugin.read()
                if "event" in message:
                    depths.append(message.get("hops", 0))
                    number = len(names) + 1
                    names[number] = message["id"]
                    params = {"plugin": other, "method": "again"}
                    await plugin.write({"id": number, "call": "plugin.call", "params": params})
                else:
                    await plugin.write({**message, "id": names[message["id"]]})

        tasks = [asyncio.create_task(serve(a, "b")), asyncio.create_task(serve(b, "a"))]
        outcome = await runtime.emit("own.a", {})
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        [result] = outcome.results
        assert result.error_code == "loop"
        assert depths == list(range(9))
        assert all(not known.hops_in_flight for known in runtime._registry)
        assert (await a.refused("log", {}, hops=8))[0] == "loop"
        assert (await a.call("log", {}, hops=7))["status"] == "ok"


async def test_a_function_that_holds_the_loop_is_told_with_the_caller(lab: Lab, caplog) -> None:
    async with lab.manager(allow_external=True) as runtime:
        runtime.host_call("slow")(lambda _: time.sleep(0.15))
        async with attached(runtime, lab, "a", permissions=("slow",)) as plugin:
            assert (await plugin.call("slow", {}))["status"] == "ok"
            await until(lambda: runtime.summary("a").stalls == 1)
            assert runtime.host_summary().stalls == 1
            assert runtime.host_summary().longest_stall_s >= 0.15
    assert "plugin a: held the host's event loop for 1" in caplog.text
    assert "ms: the application's function for its call slow" in caplog.text


async def test_replies_wait_until_they_are_read(lab: Lab) -> None:
    """What is answered fills the memory of the host, so calls are not served meanwhile."""
    async with lab.manager(allow_external=True) as runtime:
        served = 0

        @runtime.host_call("large")
        def large(_: HostCall) -> str:
            nonlocal served
            served += 1
            return "x" * 3_000_000

        async with attached(runtime, lab, "deaf") as deaf:
            await deaf.write(*({"id": n, "call": "large"} for n in range(1, 201)))
            await until(lambda: served)
            await asyncio.sleep(0.2)
            assert served <= 3  # of 200
            for n in range(1, 201):
                assert (await deaf.read())["id"] == n
            assert served == 200
