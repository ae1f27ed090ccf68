"""What a native plugin asks of its host, over sessions whose other end is in the test's hand."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import orjson
import pytest
from tests.support.paper import host_calls, opened, plugin
from tests.support.wire_kit import Peer, until

from vconnect.dispatch import host_calls as module
from vconnect.dispatch.host_calls import HostCall
from vconnect.errors import ConfigError, HostCallError, PluginUnavailableError
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.settings.model import PluginOptions
from vconnect.wire.messages import MAX_HOPS
from vconnect.wire.session import Session

AT_ONCE = module._CALLS_AT_ONCE


class Caller:
    """A native plugin that calls its host."""

    def __init__(self, host: Host, known: PluginRuntime, session: Session, peer: Peer) -> None:
        self.plugin, self.session, self.peer = known, session, peer
        self._host = host
        self._number = 0

    def asks(self, call: Any, params: Any = None, **fields: Any) -> int:
        """Send a call without waiting; return its number."""
        self._number += 1
        message = {"id": self._number, "call": call, "params": params or {}, **fields}
        self._host.calls.accept(self.plugin, self.session, orjson.dumps(message))
        return self._number

    async def call(self, call: Any, params: Any = None, **fields: Any) -> Any:
        """Call, and return the data, or the code and the words of the error."""
        number = self.asks(call, params, **fields)
        reply = await self.peer.read()
        assert reply.pop("id") == number
        if reply.pop("status") == "ok":
            return reply.get("data")
        return reply["code"], reply["message"]


class Host:
    """What serves the calls, and the plugins that make them."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self.registry = Registry()
        self.calls = host_calls(self.registry, max_calls=40)
        self._stack = stack

    async def add(self, name: str = "a", *permissions: str, **options: Any) -> Caller:
        known = plugin(name, permissions=permissions or ("*",), **options)
        session, peer, _ = await self._stack.enter_async_context(opened(name, native=True))
        known.session = session
        session.permissions = permissions or ("*",)
        self.registry.add(known)
        return Caller(self, known, session, peer)


@pytest.fixture
async def host() -> AsyncIterator[Host]:
    async with AsyncExitStack() as stack:
        yield Host(stack)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# --- functions that are cancelled ------------------------------------------------------------


async def cancelled_later(call: HostCall) -> None:
    never = asyncio.get_running_loop().create_future()
    never.cancel()
    await never


def cancelled_at_once(call: HostCall) -> None:
    raise asyncio.CancelledError


@pytest.mark.parametrize("function", [cancelled_later, cancelled_at_once])
async def test_a_function_whose_wait_is_cancelled_is_answered(host, function):
    host.calls.register("x", function)
    caller = await host.add("a", "x")
    assert await caller.call("x") == ("cancelled", "x was cancelled")
    host.calls.register("y", lambda call: 1)
    other = await host.add("b", "y")
    assert await other.call("y") == 1


# --- the application's functions -------------------------------------------------------------


@pytest.mark.parametrize("is_async", [True, False])
async def test_a_function_gets_who_asks_what(host, is_async):
    heard: list[HostCall] = []

    def take(call: HostCall) -> int:
        heard.append(call)
        return 7

    async def take_later(call: HostCall) -> int:
        return take(call)

    host.calls.register("take", take_later if is_async else take)
    caller = await host.add()
    assert await caller.call("take", {"x": 1}, hops=2) == 7
    assert heard == [HostCall(plugin="a", call="take", params={"x": 1}, hops=3)]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (HostCallError("not_found", "no such user"), ("not_found", "no such user")),
        (PluginUnavailableError("b", "gone"), ("unavailable", "b: gone")),
        (KeyError("secret"), ("internal", "f failed; ")),
        (HostCallError("c" * 99, "w" * 9999), ("c" * 64, "w" * 1000)),
        (HostCallError("code", "\ud800"), ("code", "?")),
        (HostCallError(404, "no such user"), ("404", "no such user")),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("is_async", [True, False])
async def test_what_goes_wrong_is_told_in_measure(host, error, told, is_async):
    def fail(_: HostCall) -> None:
        raise error

    async def fail_later(call: HostCall) -> None:
        fail(call)

    host.calls.register("f", fail_later if is_async else fail)
    code, words = await (await host.add()).call("f")
    assert code == told[0]
    assert words.startswith(told[1])
    assert len(words) <= 1000
    assert "secret" not in words


async def test_a_fault_of_the_application_is_in_the_hosts_log(host, caplog):
    host.calls.register("f", lambda _: 1 / 0)
    await (await host.add()).call("f")
    assert "host call f failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize("data", [object(), "x" * (2 << 20), {1: 2}])
async def test_a_reply_that_cannot_be_sent_is_an_error(host, data):
    host.calls.register("f", lambda _: data)
    code, words = await (await host.add()).call("f")
    assert (code, words.partition(":")[0]) == ("internal", "the reply cannot be sent")


@pytest.mark.parametrize("name", ["mine", "log", "plugin.call", "event.publish"])
def test_a_name_is_given_once(name):
    calls = host_calls(Registry())
    calls.register("mine", print)
    with pytest.raises(ConfigError, match=f"host call {name!r} is .* another name"):
        calls.register(name, print)


async def test_what_wants_no_reply_gets_none(host):
    served: list[HostCall] = []
    host.calls.register("f", served.append)
    caller = await host.add()
    for message in ({"call": "f"}, {"call": "unknown"}, {"call": 3}):
        host.calls.accept(caller.plugin, caller.session, orjson.dumps(message))
    await caller.call("f")
    assert len(served) == 2


@pytest.mark.parametrize(
    "message",
    [
        {"id": 5},
        {"id": 5, "call": 1},
        {"id": 5, "call": "f", "params": []},
        {"id": 5, "call": "f", "hops": -1},
        {"id": 5, "call": "f", "hops": "1"},
        {"id": -5, "call": "f"},
        {"id": 0, "call": "f"},
    ],
)
async def test_what_is_no_call_is_refused_under_its_number(host, message):
    host.calls.register("f", print)
    caller = await host.add()
    host.calls.accept(caller.plugin, caller.session, orjson.dumps(message))
    reply = await caller.peer.read()
    assert (reply["id"], reply["code"]) == (message["id"], "bad_request")


# --- permissions and loops -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("permissions", "withdrawn", "code"),
    [
        (("f",), (), None),
        (("*",), (), None),
        (("g",), (), "permission_denied"),
        (("*",), ("f",), "permission_denied"),
        (("*",), ("g",), None),
        (("f",), ("*",), "permission_denied"),
    ],
)
async def test_a_plugin_may_what_it_asks_for_and_the_operator_leaves_it(
    host, permissions, withdrawn, code
):
    host.calls.register("f", lambda _: None)
    options = {"a": PluginOptions(withdraw=withdrawn)}
    answer = await (await host.add("a", *permissions, options=options)).call("f")
    assert (answer and answer[0]) == code


async def test_an_unknown_call_is_unknown_whoever_asks(host):
    caller = await host.add("a", "nothing")
    code, words = await caller.call("x" * 500)
    assert code == "unknown_call"
    assert len(words) < 200


async def test_what_becomes_of_calls_is_counted_under_names_that_there_are(host):
    host.calls.register("good", lambda _: 1)
    host.calls.register("bad", lambda _: 1 / 0)
    caller = await host.add("a", "good", "bad", "made.up")
    for call in ("good", "good", "bad", "made.up", "event.publish"):
        await caller.call(call)
    assert caller.plugin.host_calls == {
        ("good", "ok"): 2,
        ("bad", "error"): 1,
        ("_other", "refused"): 1,
        ("event.publish", "refused"): 1,
    }


async def test_what_its_plugin_leaves_behind_is_cancelled(host):
    async def wait(_: HostCall) -> None:
        await asyncio.Event().wait()

    host.calls.register("wait", wait)
    caller = await host.add("a", "wait")
    caller.asks("wait")
    await turns()
    host.calls.forget(caller.session)
    await turns()
    assert caller.plugin.host_calls == {("wait", "cancelled"): 1}


async def test_who_may_subscribe_may_unsubscribe(host):
    caller = await host.add("a", "event.subscribe")
    assert await caller.call("event.subscribe", {"events": ["e"]}) is None
    assert await caller.call("event.unsubscribe", {"events": ["e"]}) is None


@pytest.mark.parametrize(
    ("said", "in_flight", "hops"),
    [(0, [], 1), (3, [], 4), (1, [5, 2], 6), (MAX_HOPS - 1, [], MAX_HOPS), (MAX_HOPS, [], None),
     (0, [MAX_HOPS], None), (10**15, [], None)],
)  # fmt: skip
async def test_a_chain_of_calls_has_an_end(host, said, in_flight, hops):
    host.calls.register("f", lambda call: call.hops)
    caller = await host.add()
    caller.plugin.hops_in_flight = in_flight
    answer = await caller.call("f", hops=said)
    assert answer == hops if hops else answer[0] == "loop"


# --- turns -----------------------------------------------------------------------------------


async def test_one_that_floods_the_host_delays_itself(host):
    order: list[str] = []
    host.calls.register("f", lambda call: order.append(call.plugin))
    loud, quiet = await host.add("loud"), await host.add("quiet")
    for _ in range(40):
        loud.asks("f")
    quiet.asks("f")
    await until(lambda: len(order) == 41)
    assert order.index("quiet") <= 2


async def test_so_many_are_served_at_once_and_the_next_one_when_one_ends(host):
    gates = [asyncio.Event() for _ in range(AT_ONCE + 2)]
    begun: list[int] = []

    async def wait(call: HostCall) -> None:
        begun.append(call.params["n"])
        await gates[call.params["n"]].wait()

    host.calls.register("wait", wait)
    caller = await host.add()
    for number in range(len(gates)):
        caller.asks("wait", {"n": number})
    await turns()
    assert begun == list(range(AT_ONCE))
    gates[3].set()
    await until(lambda: len(begun) == AT_ONCE + 1)
    for gate in gates:
        gate.set()
    await until(lambda: len(begun) == len(gates))


async def test_a_queue_that_is_full_refuses_more(host):
    host.calls.register("f", lambda _: None)
    caller = await host.add()
    numbers = [caller.asks("f") for _ in range(AT_ONCE + 43)]
    replies = [await caller.peer.read() for _ in numbers]
    refused = [reply["id"] for reply in replies if reply["status"] == "error"]
    assert refused == numbers[AT_ONCE + 40 :]
    assert {reply.get("code") for reply in replies} == {None, "overloaded"}


async def test_what_a_session_asked_ends_with_it(host):
    ended: list[str] = []

    async def wait(call: HostCall) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(call.plugin)

    host.calls.register("wait", wait)
    caller, other = await host.add("a"), await host.add("b")
    for _ in range(AT_ONCE + 3):
        caller.asks("wait")
    other.asks("wait")
    await turns()
    caller.asks("wait")  # it waits for its turn, and never begins
    host.calls.forget(caller.session)
    host.calls.forget(caller.session)
    await until(lambda: len(ended) == AT_ONCE)
    await turns()
    assert set(ended) == {"a"}
    host.calls.forget(other.session)
    await until(lambda: "b" in ended)


async def test_a_call_that_is_dropped_before_it_began_is_closed(host):
    async def never(_: HostCall) -> None:
        raise AssertionError("nobody waits for it")

    host.calls.register("never", never)
    caller = await host.add()
    caller.asks("never")
    host.calls._take_turns()
    host.calls.forget(caller.session)  # an unawaited coroutine would be an error here
    await turns()


# --- what calls cost -------------------------------------------------------------------------

NESTED: list[Any] = [[[[[]]]]] * 300


def containers() -> int:
    return len(gc.get_objects())


async def test_calls_that_wait_are_bytes(host):
    never = asyncio.Event()

    async def wait(call: HostCall) -> None:
        await never.wait()

    host.calls.register("f", wait)
    caller = await host.add()
    for _ in range(AT_ONCE):
        caller.asks("f")
    await turns()
    before = containers()
    for _ in range(40):
        caller.asks("log", {"fields": {"k": NESTED}})
    await turns()
    assert containers() - before < 200
    never.set()
    await until(lambda: len(caller.plugin.log.ring.newest(100, "trace").records) == 40)


async def test_large_calls_are_served_one_after_the_other(host):
    begun: list[int] = []
    gates = [asyncio.Event() for _ in range(4)]

    async def wait(call: HostCall) -> None:
        begun.append(call.params["n"])
        await gates[call.params["n"]].wait()

    host.calls.register("f", wait)
    caller = await host.add()
    for number in range(2):
        caller.asks("f", {"n": number, "fill": "x" * 200_000})
    caller.asks("f", {"n": 2})
    caller.asks("f", {"n": 3})
    await until(lambda: begun == [0])
    await turns()
    assert begun == [0]
    gates[0].set()
    await until(lambda: begun == [0, 1, 2, 3])
    for gate in gates:
        gate.set()


async def ask(asking: Caller, asked: Caller, data: Any) -> Any:
    """Let one plugin call another, and return the code of the error, or nothing."""
    number = asking.asks("plugin.call", {"plugin": asked.plugin.name, "method": "m"})
    event = asyncio.ensure_future(asked.peer.read())
    reply = asyncio.ensure_future(asking.peer.read())
    await asyncio.wait([event, reply], return_when=asyncio.FIRST_COMPLETED)
    if not event.done():
        event.cancel()
        assert reply.result()["id"] == number
        return reply.result()["code"]
    await asked.peer.answer({"id": event.result()["id"], "status": "ok", "data": data})
    assert (await reply)["data"] == data
    return ""


async def test_what_plugins_answer_each_other_has_an_account_for_each_pair(host):
    asking, large, small = await host.add("a"), await host.add("large"), await host.add("small")
    codes: list[str] = []
    while not codes or not codes[-1]:
        codes.append(await ask(asking, large, [[]] * 30_000))
        assert len(codes) < 60
    assert codes[-1] == "overloaded"
    # Nobody is kept from anything else.
    for one in (asking, large):
        assert not one.session.is_held()
        assert await one.call("log", {"message": "x"}) is None
    assert await ask(asking, small, 1) == ""
    assert await ask(small, large, 1) == ""
    async with asyncio.timeout(20):
        while await ask(asking, large, 1):
            await asyncio.sleep(0.05)


async def test_who_subscribes_all_the_time_pays_for_it(host):
    caller = await host.add()
    names = [f"e{number}" for number in range(1000)]
    held = False
    for _ in range(200):
        await caller.call("event.subscribe", {"events": names})
        await caller.call("event.unsubscribe", {"events": names})
        held = held or caller.session.is_held()
    assert held


async def test_who_publishes_under_ever_new_names_pays_for_them(host):
    caller = await host.add()
    held = {}
    for kind in ("one name", "new names"):
        held[kind] = False
        for number in range(2000):
            event = "said" if kind == "one name" else f"said.{number}"
            await caller.call("event.publish", {"event": event, "payload": 1})
            held[kind] = held[kind] or caller.session.is_held()
    assert held == {"one name": False, "new names": True}


async def test_a_call_that_is_not_json_ends_the_connection_at_its_turn(host):
    caller = await host.add()
    for _ in range(3):
        caller.asks("log", {"message": "x"})
    host.calls.accept(caller.plugin, caller.session, b'{"call":')
    await until(lambda: len(caller.plugin.log.ring.newest(10, "trace").records) == 3)
    await caller.peer.read_end()


# --- the host's own calls --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "level", "message", "fields"),
    [
        ({"message": "hi"}, "info", "hi", {}),
        ({}, "info", "", {}),
        ({"level": "warn", "message": "hi", "fields": {"x": "y"}}, "warn", "hi", {"x": "y"}),
        ({"fields": None}, "info", "", {}),
        ({"fields": {"n": 1, "deep": [[[1]]]}}, "info", "", {"n": "1", "deep": "[[[1]]]"}),
    ],
)
async def test_log_writes_into_the_plugins_log(host, params, level, message, fields):
    caller = await host.add()
    assert await caller.call("log", params) is None
    record = caller.plugin.log.ring.newest(1, "trace").records[0]
    assert (record.level, record.text, record.fields) == (level, message, fields)


def nested(width: int, depth: int) -> list[Any]:
    return [nested(width, depth - 1) for _ in range(width)] if depth else []


async def test_a_nested_field_is_kept_as_json(host):
    # In Python's own form and with reprlib's limits, these take 54 ms.
    caller = await host.add()
    fields = {f"k{n}": nested(4, 4) for n in range(64)}
    await caller.call("log", {"fields": fields})
    record = caller.plugin.log.ring.newest(1, "trace").records[0]
    assert len(record.fields) == 64
    assert record.fields["k0"].startswith("[[[[[],[],[],[]],")
    assert record.fields["k0"].endswith("… (937 bytes)")


@pytest.mark.parametrize(
    "params",
    [
        {"level": 7},
        {"level": ["info"]},
        {"message": 1},
        {"fields": [1]},
        {"fields": "x"},
    ],
)
async def test_log_takes_only_what_it_knows(host, params):
    assert (await (await host.add()).call("log", params))[0] == "bad_request"


@pytest.mark.parametrize("event", [None, "", 1, "vconnect.stop", ["e"]])
async def test_nobody_publishes_the_hosts_own_events(host, event):
    caller = await host.add()
    assert (await caller.call("event.publish", {"event": event}))[0] == "bad_request"


async def test_published_is_told_to_subscribers_but_not_to_the_publisher(host):
    caller, other = await host.add("a"), await host.add("b")
    for one in (caller, other):
        await one.call("event.subscribe", {"events": ["news.*"]})
    assert await caller.call("event.publish", {"event": "news.x", "payload": [1]}) == {"plugins": 1}
    told = await other.peer.read()
    assert (told["event"], told["payload"]) == ("news.x", [1])


async def test_subscriptions_add_up_and_come_off(host):
    caller = await host.add()
    await caller.call("event.subscribe", {"events": ["a", "b", "a"]})
    await caller.call("event.subscribe", {"events": ["c", "b"]})
    assert caller.session.subscriptions == ("a", "b", "c")
    await caller.call("event.unsubscribe", {"events": ["b", "never"]})
    assert caller.session.subscriptions == ("a", "c")


@pytest.mark.parametrize("events", [None, "a", [1], [""], ["a", None], {"a": 1}])
async def test_only_patterns_are_subscribed(host, events):
    caller = await host.add()
    assert (await caller.call("event.subscribe", {"events": events}))[0] == "bad_request"
    assert caller.session.subscriptions == ()


async def test_subscriptions_are_bounded(host):
    caller = await host.add()
    many = [f"e{number}" for number in range(1024)]
    assert await caller.call("event.subscribe", {"events": many}) is None
    assert await caller.call("event.subscribe", {"events": many[:5]}) is None
    assert (await caller.call("event.subscribe", {"events": ["one.more"]}))[0] == "bad_request"
    assert len(caller.session.subscriptions) == 1024


@pytest.mark.parametrize(
    "params",
    [
        {},
        {"plugin": "b"},
        {"plugin": 1, "method": "m"},
        {"plugin": "b", "method": "vconnect.stop"},
        {"plugin": "b", "method": "m", "deadline_ms": 0},
        {"plugin": "b", "method": "m", "deadline_ms": -1},
        {"plugin": "b", "method": "m", "deadline_ms": True},
        {"plugin": "b", "method": "m", "deadline_ms": "5"},
    ],
)
async def test_a_call_to_another_plugin_needs_two_names_and_a_time(host, params):
    await host.add("b")
    assert (await (await host.add()).call("plugin.call", params))[0] == "bad_request"


async def test_a_call_to_another_plugin_goes_there_and_back(host):
    caller, other = await host.add("a"), await host.add("b")
    number = caller.asks("plugin.call", {"plugin": "b", "method": "sum", "params": [1]}, hops=1)
    asked = await other.peer.read()
    assert (asked["event"], asked["payload"]) == ("sum", [1])
    await other.peer.answer({"id": asked["id"], "status": "ok", "data": 3})
    assert await caller.peer.read() == {"id": number, "status": "ok", "data": 3}


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"plugin": "nobody", "method": "m"}, "unknown_plugin"),
        ({"plugin": "b", "method": "m", "deadline_ms": 1}, "deadline_exceeded"),
        ({"plugin": "b", "method": "m", "deadline_ms": 0.5}, "deadline_exceeded"),
    ],
)
async def test_a_call_to_another_plugin_that_fails_says_how(host, params, code, caplog):
    caplog.set_level(logging.ERROR)
    await host.add("b")
    assert (await (await host.add()).call("plugin.call", params))[0] == code
    assert not caplog.records  # no fault of the host


# --- what a call to another plugin says about that plugin ------------------------------------


async def test_a_callers_deadlines_and_parameters_do_not_harm_the_other(host):
    asking, asked = await host.add("a"), await host.add("b", breaker_failures=3)
    for _ in range(10):
        asking.asks("plugin.call", {"plugin": "b", "method": "m", "deadline_ms": 5})
        event = await asked.peer.read()
        assert (await asking.peer.read())["code"] == "deadline_exceeded"
        assert (await asked.peer.read())["event"] == "vconnect.cancel"
        await asked.peer.answer({"id": event["id"], "status": "ok"})  # too late
    for _ in range(10):
        asking.asks("plugin.call", {"plugin": "b", "method": "m"})
        event = await asked.peer.read()
        refusal = {"id": event["id"], "status": "error", "code": "bad_request", "message": "no"}
        await asked.peer.answer(refusal)
        assert (await asking.peer.read())["code"] == "bad_request"
    assert not asked.plugin.breaker.is_open
    assert asked.plugin.breaker.failures == 0
    assert (asked.plugin.counters.errors, asked.plugin.counters.timeouts) == (20, 10)


@pytest.fixture
async def half_open(host):
    """Two plugins, of which the second has an open circuit that takes a probe."""
    asking, asked = await host.add("a"), await host.add("b", breaker_failures=1, breaker_cooldown=0)
    asked.plugin.breaker.failed()
    assert asked.plugin.breaker.is_open
    return asking, asked


async def test_a_call_may_be_the_probe_of_an_open_circuit(half_open):
    asking, asked = half_open
    assert await ask(asking, asked, 1) == ""
    assert not asked.plugin.breaker.is_open


async def test_a_call_that_is_not_let_through_frees_no_probe(half_open):
    asking, asked = half_open
    assert asked.plugin.breaker.takes_probe()  # the application's
    for _ in range(3):
        assert await ask(asking, asked, 1) == "unavailable"
    assert not asked.plugin.breaker.takes_probe()
