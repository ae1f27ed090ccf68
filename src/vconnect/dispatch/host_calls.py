"""Calls from native plugins to the host: permissions, fairness and limits."""

# Each connection has its own queue. The queues are served round-robin, for a limited time per
# iteration of the event loop, so that a plugin that floods the host delays only itself. While a
# full queue only waits for its turns, the host does not read from its plugin. If it is blocked by
# calls in progress, further calls are refused (`overloaded`): the calls in progress may be waiting
# for an answer of the same plugin, which is behind them in the stream.
#
# Calls wait as bytes and are parsed when their turn comes. Parsed, 4 KiB can be two thousand lists,
# and the garbage collector would visit those of hundreds of waiting calls again and again.

from __future__ import annotations

import asyncio
import inspect
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from functools import partial
from itertools import islice
from time import monotonic, thread_time
from typing import Any, NamedTuple

import msgspec
import orjson

from vconnect.bounds import MAX_NAME_BYTES, MAX_SUBSCRIPTIONS, cut, find_excess, shown
from vconnect.errors import (
    ConfigError,
    HostCallError,
    PayloadError,
    PluginError,
    PluginOverloadedError,
)
from vconnect.names import PATTERN_RULE, are_patterns
from vconnect.plugins.runtime import PluginRuntime
from vconnect.wire._inflight import number_in
from vconnect.wire._latency import OTHER
from vconnect.wire.messages import (
    EVENT_NAMES,
    MAX_HOPS,
    READY,
    PluginCall,
    check_event,
    ok_reply,
    parse_call,
)
from vconnect.wire.session import Session

from .accounts import Account, Accounts
from .dispatcher import Dispatcher
from .origin import Origin

_CALLS_AT_ONCE = 16
"""Calls of one plugin that are in progress at the same time."""
# The same in bytes, unless there is only one. Parsed, a call can take fifty times as much memory.
_BYTES_AT_ONCE = 256 * 1024

# Calls that are started per iteration of the loop, for all plugins together: the rest of the loop
# waits for them.
_BATCH = 64
# No further call is started in an iteration after so many seconds.
_TURNS_S = 0.0001
# A call that takes longer without awaiting anything is reported: everybody waits for it.
_SLOW_S = 0.1
# Calls that no plugin needs to make often, and that are charged.
_CHARGED = frozenset({"event.subscribe", "event.unsubscribe"})
# What becomes of a call that the host does not begin, or whose parameters it cannot use.
_REFUSALS = frozenset({"bad_request", "loop", "overloaded", "permission_denied", "unknown_call"})
# Fields of a log record. More could not be told from one another by a reader.
_MAX_FIELDS = 64
# Bytes of a field that is not a string.
_MAX_FIELD_BYTES = 200

_log = logging.getLogger(__name__)


class HostCall(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin's call, as passed to a function of the application.

    Attributes:
        plugin: The caller's canonical name.
        call: The name of the call, such as ``message.send``.
        params: Its parameters.
        hops: How many plugins the chain of calls has come through, including this one.
        trace: The W3C ``traceparent`` that the plugin sent with it, or ``None``.
    """

    plugin: str
    call: str
    params: dict[str, Any]
    hops: int
    trace: str | None = None


HostFunction = Callable[[HostCall], Awaitable[Any] | Any]


class _Asked(NamedTuple):
    """What is kept of a call in progress. Its parameters are not."""

    number: int | None
    name: str


class _Charged(NamedTuple):
    """The answer of another plugin: passing it on is charged to an account."""

    data: Any
    account: Account


class _CallQueue:
    """The calls of one session."""

    def __init__(self, plugin: PluginRuntime, session: Session) -> None:
        self.plugin = plugin
        self.session = session
        self.waiting: deque[bytes] = deque()
        self.tasks: set[asyncio.Task[None]] = set()
        self.bytes_at_once = 0  # of the calls in progress
        self.is_ready = False  # it is in `HostCalls._ready`, waiting for its turn
        self._is_full = False

    def note_length(self, limit: int) -> None:
        """Stop reading from the plugin while the queue is full and only waits for its turns."""
        is_full = self.is_ready and len(self.waiting) >= (limit // 2 if self._is_full else limit)
        if is_full is not self._is_full:
            self._is_full = is_full
            self.session.hold_calls(are_full=is_full)

    def may_begin(self) -> bool:
        """Return whether the next call may be served beside those in progress."""
        if not self.waiting or len(self.tasks) >= _CALLS_AT_ONCE or self.session.is_held():
            return False
        together = self.bytes_at_once + len(self.waiting[0])
        return not self.tasks or together <= _BYTES_AT_ONCE


class HostCalls:
    """Serves the calls of all native plugins.

    Args:
        dispatcher: Sends events and calls from one plugin to others.
        max_calls: How many calls of one connection may wait.

    Attributes:
        max_calls: How many calls of one connection may wait.
        on_slow: Called with the session, the call and the seconds if a call has held the event loop
            for more than a tenth of a second.
    """

    def __init__(self, dispatcher: Dispatcher, max_calls: int) -> None:
        self._dispatcher = dispatcher
        self.max_calls = max_calls
        self.on_slow: Callable[[Session, str, float], None] = lambda *_: None
        # By session, not by plugin: during a zero-downtime restart a plugin has two.
        self._queues: dict[Session, _CallQueue] = {}
        self._accounts = Accounts()
        self._ready: deque[_CallQueue] = deque()
        self._scheduled = False
        self._own: Mapping[str, Callable[[_CallQueue, HostCall], Awaitable[Any] | Any]] = {
            READY: self._become_ready,
            "log": self._write_log,
            "event.publish": self._publish,
            "event.subscribe": self._subscribe,
            "event.unsubscribe": self._unsubscribe,
            "plugin.call": self._call_plugin,
        }
        # The application's calls. They cannot replace the host's own, see `register`.
        self._functions: dict[str, HostFunction] = {}

    def register(self, name: str, function: HostFunction) -> None:
        """Let plugins call ``function`` by ``name``.

        Raises:
            ConfigError: The name is already in use.
        """
        try:
            check_event(name)
        except PayloadError as error:
            raise ConfigError(
                str(error).replace("the event's name", "the host call's name")
            ) from None
        if name in self._own or name in self._functions:
            raise ConfigError(f"host call {name!r} is already registered; use another name")
        self._functions[name] = function

    def accept(self, plugin: PluginRuntime, session: Session, payload: bytes) -> bool:
        """Queue a call from a plugin, which is not parsed yet, or refuse it.

        Returns:
            Whether it is queued.
        """
        queue = self._queue_of(plugin, session)
        try:
            # Those that are about to be served are still among the waiting.
            if len(queue.waiting) >= self.max_calls + _CALLS_AT_ONCE - len(queue.tasks):
                raise HostCallError(
                    "overloaded", f"{self.max_calls} calls of {plugin.name} are already waiting"
                )
            session.charge_call(len(payload))
        except (HostCallError, PluginOverloadedError) as error:
            self._refuse(queue, _Asked(number_in(payload), ""), _as_call_error("", error))
            return False
        queue.waiting.append(payload)
        self._enqueue(queue)
        queue.note_length(self.max_calls)
        return True

    def forget(self, session: Session) -> None:
        """Drop the calls of a session that has ended, and cancel those in progress."""
        queue = self._queues.pop(session, None)
        if queue is not None:
            queue.waiting.clear()
            session.on_writable = str  # else the two would keep each other
            for task in queue.tasks:
                task.cancel()

    # Round-robin.

    def _queue_of(self, plugin: PluginRuntime, session: Session) -> _CallQueue:
        queue = self._queues.get(session)
        if queue is None:
            queue = self._queues[session] = _CallQueue(plugin, session)
            session.on_writable = partial(self._enqueue, queue)
        return queue

    def _enqueue(self, queue: _CallQueue) -> None:
        # A queue is ready at most once, or a plugin with many calls would get several turns per
        # round.
        if queue.is_ready or not queue.may_begin():
            return
        queue.is_ready = True
        self._ready.append(queue)
        self._schedule()

    def _schedule(self) -> None:
        if self._ready and not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._take_turns)

    def _take_turns(self) -> None:
        self._scheduled = False
        ends = monotonic() + _TURNS_S
        # No more turns than there can be calls to start, so that an idle loop ends early.
        for _ in range(min(_BATCH, len(self._ready) * _CALLS_AT_ONCE)):
            if not self._ready or monotonic() > ends:
                break
            queue = self._ready.popleft()
            queue.is_ready = False
            if queue.waiting:
                self._begin(queue, queue.waiting.popleft())
            # To the end of the line, if it has more: this is what makes it fair.
            self._enqueue(queue)
            queue.note_length(self.max_calls)
        self._schedule()

    def is_own(self, call: str) -> bool:
        """Return whether a call is the host's own, and not a function of the application."""
        return call in self._own

    def _begin(self, queue: _CallQueue, payload: bytes) -> None:
        """Parse a call and serve it, or refuse it."""
        size = len(payload)
        message = queue.session.read_call(payload)
        if message is None:
            queue.session.release_call(size)
            return
        began = monotonic()
        try:
            call = parse_call(message)
        except HostCallError as error:
            self._refuse(queue, _Asked(message.get("id"), ""), error)
            queue.session.release_call(size)
            queue.session.charge_work(monotonic() - began)
            return
        self._begin_serving(queue, call, size)
        took = monotonic() - began
        if took >= _SLOW_S:
            self.on_slow(queue.session, call.call, took)

    def _begin_serving(self, queue: _CallQueue, call: PluginCall, size: int) -> None:
        """Serve a call: at once if nothing has to be awaited, else in a task."""
        asked = _Asked(call.id, call.call)
        origin = Origin(self._dispatcher)
        with origin.inherited():
            try:
                pending = self._serve(queue, call, origin)
            # The application's code; reported to the plugin.
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001
                self._refuse(queue, asked, _as_call_error(asked.name, error))
                _end(queue, origin, size)
                return
            # Most calls, such as log lines, wait for nothing, and a task would cost more than they
            # do.
            if not inspect.isawaitable(pending):
                self._answer(queue, asked, pending)
                _end(queue, origin, size)
                return
            # Here, because a task keeps the context in which it was created.
            task = asyncio.get_running_loop().create_task(self._finish(queue, asked, pending))
        queue.tasks.add(task)
        queue.bytes_at_once += size
        task.add_done_callback(lambda task: self._ended(queue, task, pending, origin, size))

    async def _finish(self, queue: _CallQueue, asked: _Asked, pending: Awaitable[Any]) -> None:
        try:
            self._answer(queue, asked, await pending)
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                # This task itself is cancelled: the plugin is gone.
                queue.plugin.host_calls[asked.name, "cancelled"] += 1
                raise
            # Otherwise only something that the function awaited was cancelled.
            self._refuse(queue, asked, _as_call_error(asked.name, error))

    def _ended(
        self,
        queue: _CallQueue,
        task: asyncio.Task[None],
        pending: Awaitable[Any],
        origin: Origin,
        size: int,
    ) -> None:
        _end(queue, origin, size)
        if task.cancelled() and (inspect.iscoroutine(pending) or isinstance(pending, _Then)):
            pending.close()  # the task may have been cancelled before it ran
        queue.tasks.discard(task)
        queue.bytes_at_once -= size
        self._enqueue(queue)

    def _serve(self, queue: _CallQueue, call: PluginCall, origin: Origin) -> Awaitable[Any] | Any:
        self._check_permission(queue.plugin, queue.session.permissions, call.call)
        # What the plugin reports is not relied on; see "Loops" in docs/wire.md.
        hops = 1 + max(call.hops, *queue.plugin.hops_in_flight, 0)
        if hops > MAX_HOPS:
            raise HostCallError(
                "loop", f"{call.call} came through {hops - 1} plugins; the limit is {MAX_HOPS}"
            )
        origin.hops, origin.trace = hops, call.trace
        if call.deadline_ms is not None:
            origin.until = monotonic() + call.deadline_ms / 1000
        asked = HostCall(
            plugin=queue.plugin.name,
            call=call.call,
            params=call.params,
            hops=hops,
            trace=call.trace,
        )
        own = self._own.get(call.call)
        if own is None:
            return self._functions[call.call](asked)
        if call.call not in _CHARGED:
            return own(queue, asked)
        began = thread_time()
        try:
            return own(queue, asked)
        finally:
            queue.session.charge_work(thread_time() - began)

    def _answer(self, queue: _CallQueue, asked: _Asked, data: Any) -> None:
        queue.plugin.host_calls[asked.name, "ok"] += 1
        _answer(queue.session, asked, data)

    def _refuse(self, queue: _CallQueue, asked: _Asked, error: HostCallError) -> None:
        """Reply with an error, if the call has a number to reply to, and count it."""
        # A name that no call has is a plugin's own text, of which there is no end.
        is_known = asked.name in self._own or asked.name in self._functions
        became = "refused" if error.code in _REFUSALS else "error"
        queue.plugin.host_calls[asked.name if is_known else OTHER, became] += 1
        _refuse(queue.session, asked.number, error)

    def _check_permission(
        self, plugin: PluginRuntime, permissions: tuple[str, ...], name: str
    ) -> None:
        # Before the permission, because a plugin's author needs to know which of the two is
        # missing.
        if name not in self._own and name not in self._functions:
            raise HostCallError("unknown_call", f"this host has no call {shown(name)}")
        if name == READY:
            return
        # What may be subscribed may be unsubscribed.
        wanted = "event.subscribe" if name == "event.unsubscribe" else name
        if not plugin.may_call(wanted, permissions):
            why = plugin.why_not_call(wanted)
            raise HostCallError("permission_denied", f"{plugin.name} may not call {name}: {why}")

    # The host's own calls.

    def _become_ready(self, queue: _CallQueue, _: HostCall) -> None:
        queue.session.become_ready()

    def _write_log(self, queue: _CallQueue, call: HostCall) -> None:
        # `null` is the same as no value, here too.
        given = {key: value for key, value in call.params.items() if value is not None}
        level, message = given.get("level", "info"), given.get("message", "")
        fields = given.get("fields", {})
        if not isinstance(level, str):
            raise HostCallError("bad_request", f"level is {shown(level)}; expected a string")
        if not isinstance(message, str) or not isinstance(fields, dict):
            raise HostCallError(
                "bad_request",
                f"message is {shown(message)} and fields {shown(fields)}; expected a string and an "
                "object",
            )
        queue.plugin.log.say(level, message, _brief_fields(fields))

    def _publish(
        self, queue: _CallQueue, call: HostCall
    ) -> Awaitable[dict[str, int]] | dict[str, int]:
        event, payload = _name_of(call, "event"), call.params.get("payload")
        # Whom a name is for is worked out at its first uses, which takes twenty times as long.
        is_new, began = event not in EVENT_NAMES, monotonic()
        sent = self._dispatcher.publish(event, payload, hops=call.hops, publisher=queue.plugin)
        if is_new:
            queue.session.charge_work(monotonic() - began)
        if isinstance(sent, int):
            return {"plugins": sent}
        return _Then(sent, lambda count: {"plugins": count})

    def _subscribe(self, queue: _CallQueue, call: HostCall) -> None:
        # Subscribing twice is not a mistake; a dictionary keeps the order and drops duplicates.
        wanted = dict.fromkeys((*queue.session.subscriptions, *_patterns_of(call)))
        if len(wanted) > MAX_SUBSCRIPTIONS:
            raise HostCallError(
                "bad_request",
                f"{len(wanted)} subscriptions; a plugin may have {MAX_SUBSCRIPTIONS}",
            )
        queue.plugin.subscribe(queue.session, tuple(wanted))

    def _unsubscribe(self, queue: _CallQueue, call: HostCall) -> None:
        unwanted = set(_patterns_of(call))
        kept = (pattern for pattern in queue.session.subscriptions if pattern not in unwanted)
        queue.plugin.subscribe(queue.session, tuple(kept))

    def _call_plugin(self, queue: _CallQueue, call: HostCall) -> Awaitable[Any]:
        plugin, method = call.params.get("plugin"), _name_of(call, "method")
        deadline_ms = call.params.get("deadline_ms")
        if not isinstance(plugin, str):
            raise HostCallError("bad_request", f"plugin is {shown(plugin)}; expected a name")
        if deadline_ms is not None and (not _is_number(deadline_ms) or deadline_ms <= 0):
            raise HostCallError(
                "bad_request", f"deadline_ms is {shown(deadline_ms)}; expected a positive number"
            )
        account = self._accounts.between(queue.plugin, self._dispatcher.find(plugin))
        account.check(plugin)
        # The caller may wait for less time than the operator allows, but not for more.
        timeout = self._dispatcher.timeout_of(plugin, method)
        if deadline_ms is not None:
            timeout = min(timeout, deadline_ms / 1000)
        params = call.params.get("params")
        asking = self._dispatcher.request(plugin, method, params, timeout, call.hops, account)
        return _Then(asking, lambda data: _Charged(data, account))


class _Then:
    """Awaits a coroutine and turns its result into another. Closing it closes the coroutine."""

    def __init__(self, asking: Coroutine[Any, Any, Any], turn: Callable[[Any], Any]) -> None:
        self._asking = asking
        self._turn = turn

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._turned().__await__()

    def close(self) -> None:
        self._asking.close()

    async def _turned(self) -> Any:
        return self._turn(await self._asking)


def _end(queue: _CallQueue, origin: Origin, size: int) -> None:
    """Record that a call is over."""
    origin.end()
    queue.session.release_call(size)


def _name_of(call: HostCall, key: str) -> str:
    name = call.params.get(key)
    try:
        check_event(name)
    except (TypeError, PayloadError) as error:
        raise HostCallError("bad_request", f"{key}: {error}") from None
    return str(name)


def _patterns_of(call: HostCall) -> list[str]:
    events: Any = call.params.get("events")
    is_list = isinstance(events, list) and all(isinstance(event, str) for event in events)
    if is_list and (excess := find_excess(events, MAX_SUBSCRIPTIONS)):
        raise HostCallError("bad_request", f"events {excess}")
    if not is_list or not are_patterns(events):
        raise HostCallError(
            "bad_request", f"events is {shown(events)}; expected a list of {PATTERN_RULE}"
        )
    return list(events)


def _is_number(value: Any) -> bool:
    # JSON has booleans, which Python counts among the integers.
    return isinstance(value, int | float) and not isinstance(value, bool)


def _as_call_error(call: str, error: BaseException) -> HostCallError:
    """Convert an exception for the plugin. Details of our own bugs stay in our log."""
    if isinstance(error, HostCallError):
        return error
    # Codes and texts of the other plugin are passed on: the caller has to react to them.
    if isinstance(error, PluginError):
        return HostCallError(error.code, str(error))
    if isinstance(error, PayloadError):
        return HostCallError("bad_request", str(error))
    if isinstance(error, asyncio.CancelledError):
        return HostCallError("cancelled", f"{call} was cancelled")
    _log.error("host call %s failed", call, exc_info=error)
    return HostCallError("internal", f"{call} failed; the reason is in the host's log")


def _answer(session: Session, asked: _Asked, data: Any) -> None:
    if asked.number is None:
        return
    if not isinstance(data, _Charged):
        _send_answer(session, asked.number, data)
        return
    began = thread_time()
    _send_answer(session, asked.number, data.data)
    data.account.pay(thread_time() - began)


def _send_answer(session: Session, number: int, data: Any) -> None:
    try:
        session.send(ok_reply(number, data))
    except PayloadError as error:
        _refuse(session, number, HostCallError("internal", f"the reply cannot be sent: {error}"))


def _refuse(session: Session, number: Any, error: HostCallError) -> None:
    """Reply with an error, if the call has a number to reply to."""
    if type(number) is not int:
        return
    session.refuse(number, error.code, str(error))


def _brief_fields(fields: dict[str, Any]) -> dict[str, str]:
    """Return the fields of a log record, as texts; what is left out is counted in another one."""
    kept = {cut(key, MAX_NAME_BYTES): _brief(fields[key]) for key in islice(fields, _MAX_FIELDS)}
    if len(fields) > _MAX_FIELDS:
        kept["…"] = f"{len(fields) - _MAX_FIELDS} more fields"
    return kept


def _brief(value: Any) -> str:
    # As JSON, which takes no longer for nested values than for a text of the same size.
    return value if isinstance(value, str) else cut(orjson.dumps(value).decode(), _MAX_FIELD_BYTES)
