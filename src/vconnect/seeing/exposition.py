"""Metrics as Prometheus reads them."""

# `prometheus_client` builds an object for each line: 100 plugins with three events each take it a
# tenth of a second, in which no event passes. So the lines are written here, with the beginnings of
# histograms' lines kept as bytes, and the loop has its turn after every few plugins. What one
# histogram says is written in one step, so that its buckets, its sum and its count agree.
#
# Labels come from the configuration and from names of installed plugins, never from a payload.
# Every series of a plugin is there from the moment at which it is known, or a rate would miss the
# first failure.

from __future__ import annotations

import asyncio
import platform
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, get_args
from weakref import WeakKeyDictionary

from vconnect.names import LogLevel
from vconnect.plugins.latency import OUTCOME_NAMES
from vconnect.plugins.passed_over import Effect, PassedOverRow, Reason
from vconnect.plugins.registry import Registry
from vconnect.plugins.routes import RouteTable
from vconnect.plugins.runtime import HOST_CALL_OUTCOMES, PluginRuntime
from vconnect.plugins.status import PluginStatus
from vconnect.version import host_version
from vconnect.wire._latency import EDGES_US, MAX_ROWS, OTHER, Row

from .overview import Overview
from .summary import role_of

# Two buckets for each octave from 64 us to 8 s; with "coarse", one.
_FIRST_US, _LAST_US = 64, 8 * 1024 * 1024
# After so many plugins the loop has its turn.
_TURN = 8

RESTART_REASONS = (
    *("exit_zero", "exit_code", "signal", "memory_limit", "watchdog", "handshake_timeout"),
    *("connection_lost", "operator", "source", "upgrade", "config", "required"),
)
_PASSED_OVER = "vconnect_events_passed_over_total"
_POLICIES = ("drop_oldest", "drop_newest", "block")


class Family(NamedTuple):
    """One metric: its name, type and help."""

    name: str
    kind: str
    help: str


_PLUGIN_FAMILIES = {
    family.name: family
    for family in (
        Family("vconnect_plugin_info", "gauge", "What a plugin is."),
        Family("vconnect_plugin_state", "gauge", "1 for the state that the plugin is in."),
        Family("vconnect_plugin_serving", "gauge", "1 if the plugin would be asked now."),
        Family("vconnect_plugin_required", "gauge", "1 if the host does not go on without it."),
        Family("vconnect_plugin_generation", "gauge", "How many times it has been started."),
        Family("vconnect_plugin_restarts_total", "counter", "Starts but the first, by reason."),
        Family("vconnect_plugin_spawn_seconds", "gauge", "Until the last start had a process."),
        Family("vconnect_plugin_ready_seconds", "gauge", "Until the last start could serve."),
        Family("vconnect_events_total", "counter", "What became of events that were sent."),
        Family(
            _PASSED_OVER,
            "counter",
            "Events that were not sent to a plugin that wants them, and what became of them.",
        ),
        Family("vconnect_events_in_flight", "gauge", "Events sent and not yet answered."),
        Family("vconnect_queue_events", "gauge", "Events that wait for a slot in the window."),
        Family("vconnect_queue_bytes", "gauge", "Bytes of what waits or is in flight."),
        Family("vconnect_queue_limit_events", "gauge", "How many events may wait."),
        Family(
            "vconnect_notifications_dropped_total",
            "counter",
            "Notifications for which there was no room, by the policy of their event.",
        ),
        Family("vconnect_circuit_open", "gauge", "1 if the circuit is open."),
        Family("vconnect_circuit_opened_total", "counter", "How often the circuit has opened."),
        Family("vconnect_quarantined_events", "gauge", "Events in quarantine."),
        Family("vconnect_plugin_cpu_seconds_total", "counter", "Processor time of its tree."),
        Family("vconnect_plugin_resident_memory_bytes", "gauge", "Resident memory of its tree."),
        Family("vconnect_plugin_processes", "gauge", "Processes of its tree."),
        Family("vconnect_plugin_open_fds", "gauge", "Open descriptors of its tree."),
        Family("vconnect_host_calls_total", "counter", "What became of its calls to the host."),
        Family("vconnect_log_lines_total", "counter", "Lines of its output that were kept."),
        Family("vconnect_log_suppressed_total", "counter", "Lines of its output that were not."),
    )
}


#: The labels behind the plugin's on each line of a family.
_PLACES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(_PLUGIN_FAMILIES, ("",)),
    "vconnect_plugin_state": tuple(f',state="{one.lower()}"' for one in PluginStatus),
    "vconnect_plugin_restarts_total": tuple(f',reason="{one}"' for one in RESTART_REASONS),
    "vconnect_notifications_dropped_total": tuple(f',policy="{one}"' for one in _POLICIES),
    "vconnect_log_lines_total": tuple(f',level="{one}"' for one in get_args(LogLevel)),
}
_PASSED = _PASSED_OVER + "{%s} %d\n"
_CALLS = "vconnect_host_calls_total"
_CALL = _CALLS + '{%s,call="%s",outcome="%s"} %d\n'


class Exposition:
    """Writes the metrics of a host.

    Args:
        registry: The plugins.
        overview: The last minute, for the loop's lag.
        loop: Returns the event loop's kind, once one runs.
        is_coarse: Returns whether histograms have half as many buckets.
    """

    def __init__(
        self,
        registry: Registry,
        overview: Overview,
        loop: Callable[[], str],
        is_coarse: Callable[[], bool],
    ) -> None:
        self._registry = registry
        self._overview = overview
        self._loop = loop
        self._is_coarse = is_coarse
        # What never changes of a plugin's lines is written once.
        self._forms: WeakKeyDictionary[PluginRuntime, _Form] = WeakKeyDictionary()
        self.requests: Counter[tuple[str, int]] = Counter()
        self.stream_clients: Callable[[], int] = int
        self.stream_dropped: Counter[str] = Counter()

    def count_request(self, route: str, status: int) -> None:
        """Count an answer of the administration interface."""
        self.requests[route, status] += 1

    async def render(self, *, is_open: bool = False) -> bytes:
        """Return all metrics.

        Args:
            is_open: Whether as OpenMetrics.
        """
        lines: dict[str, list[str]] = {name: [] for name in _PLUGIN_FAMILIES}
        histograms: list[bytes] = []
        buckets = _Buckets.of(coarse=self._is_coarse())
        for number, plugin in enumerate(self._registry):
            form = self._forms.get(plugin)
            if form is None:
                form = self._forms[plugin] = _Form(plugin)
            form.add(plugin, self._registry.routes, lines)
            histograms += [
                buckets.of_row("vconnect_event_duration_seconds", form.label_of(row), row)
                for row in plugin.rows.all()
            ]
            if number % _TURN == _TURN - 1:
                await asyncio.sleep(0)
        for name, passed_over in self._registry.absent.items():
            lines[_PASSED_OVER] += [
                _PASSED % (_passed(_quoted("plugin", name), row), row.count)
                for row in passed_over.rows
            ]
        parts: list[bytes] = []
        for family in _PLUGIN_FAMILIES.values():
            parts.append(_head(family, is_open=is_open))
            parts.append("".join(lines[family.name]).encode())
        event = Family(
            "vconnect_event_duration_seconds",
            "histogram",
            "From sending to the answer; of late ones, to the deadline.",
        )
        parts += [_head(event, is_open=is_open), *histograms]
        chain = Family("vconnect_chain_duration_seconds", "histogram", "The whole chain.")
        parts.append(_head(chain, is_open=is_open))
        parts += [
            buckets.of_row("vconnect_chain_duration_seconds", _event(row), row)
            for row in self._registry.chains.all()
        ]
        parts += self._of_host(buckets, is_open=is_open)
        if is_open:
            parts.append(b"# EOF\n")
        return b"".join(parts)

    def _of_host(self, buckets: _Buckets, *, is_open: bool) -> Iterator[bytes]:
        def family(name: str, kind: str, text: str, samples: Iterable[tuple[str, float]]) -> bytes:
            written = "".join(
                f"{name}{{{labels}}} {value}\n" if labels else f"{name} {value}\n"
                for labels, value in samples
            )
            return _head(Family(name, kind, text), is_open=is_open) + written.encode()

        lag = Family("vconnect_loop_lag_seconds", "histogram", "How late a timer was.")
        yield _head(lag, is_open=is_open)
        yield buckets.of_row(lag.name, "", self._overview.minute.lag)
        build = (
            f"{_quoted('version', host_version())},{_quoted('python', platform.python_version())},"
            f"{_quoted('loop', self._loop())}"
        )
        yield family("vconnect_build_info", "gauge", "What runs.", [(build, 1)])
        yield family(
            "vconnect_admin_requests_total",
            "counter",
            "Answers of the administration interface.",
            [
                (f'{_quoted("route", route)},code="{status}"', count)
                for (route, status), count in sorted(self.requests.items())
            ],
        )
        yield family(
            "vconnect_stream_clients", "gauge", "Open streams.", [("", self.stream_clients())]
        )
        topics = {"all": 0, "metrics": 0, "trace": 0, **self.stream_dropped}
        yield family(
            "vconnect_stream_dropped_total",
            "counter",
            "Entries that slow clients have missed.",
            [
                (_quoted("topic", "logs" if topic.startswith("logs:") else topic), count)
                for topic, count in _merged(topics).items()
            ],
        )


class _Buckets(NamedTuple):
    """The buckets of all histograms.

    Attributes:
        ends: What follows the labels of a line, for each bucket.
        upto: The first cell that is no longer in a bucket.
    """

    ends: tuple[bytes, ...]
    upto: tuple[int, ...]

    @classmethod
    def of(cls, *, coarse: bool) -> _Buckets:
        """Choose some of the cells' edges."""
        edges = [edge for edge in EDGES_US if _FIRST_US <= edge <= _LAST_US]
        edges = edges[:: 4 if coarse else 2]
        ends = [f'le="{edge / 1e6:.9g}"}} '.encode() for edge in edges]
        # A cell has what is less than its upper edge; so has the bucket with that edge.
        upto = [bisect_right(EDGES_US, edge) for edge in edges]
        return cls((*ends, b'le="+Inf"} '), (*upto, len(EDGES_US) + 1))

    def of_row(self, name: str, labels: str, row: Row) -> bytes:
        """Return a row's lines."""
        comma = "," if labels else ""
        head = f"{name}_bucket{{{labels}{comma}".encode()
        written = row.buckets(head, self.ends, self.upto)
        count = written[written.rindex(b" ") + 1 :]
        braces = f"{{{labels}}}" if labels else ""
        rest = f"{name}_sum{braces} {row.seconds:.9g}\n{name}_count{braces} "
        return b"".join((written, rest.encode(), count))


def _head(family: Family, *, is_open: bool) -> bytes:
    # OpenMetrics names a counter without the ending of its samples.
    is_counter = is_open and family.kind == "counter"
    name = family.name.removesuffix("_total") if is_counter else family.name
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n".encode()


def _quoted(name: str, value: str) -> str:
    return f'{name}="{_escaped(value)}"'


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _label(plugin: PluginRuntime) -> str:
    return _quoted("plugin", plugin.name)


def _event(row: Row) -> str:
    return _quoted("event", row.event)


def _passed(label: str, row: PassedOverRow) -> str:
    event = _quoted("event", row.event)
    return f'{label},{event},reason="{row.reason}",effect="{row.effect}"'


def _merged(topics: dict[str, int]) -> dict[str, int]:
    merged: Counter[str] = Counter()
    for topic, count in topics.items():
        merged["logs" if topic.startswith("logs:") else topic] += count
    return merged


class _Form:
    """One plugin's lines, with places for the values."""

    def __init__(self, plugin: PluginRuntime) -> None:
        self._label = label = _label(plugin)
        self._labels: dict[str, str] = {}
        self._outcomes: dict[str, str] = {}
        self._zeros = ""
        # On what they depend: the routes, and how many rows of each kind there are.
        self._zeros_of: tuple[RouteTable | None, int, int] = (None, 0, 0)
        self._fixed = {
            name: "".join(f"{name}{{{label}{more}}} %s\n" for more in places)
            for name, places in _PLACES.items()
        }

    def label_of(self, row: Row) -> str:
        """Return the labels of a row."""
        if (label := self._labels.get(row.event)) is None:
            label = self._labels[row.event] = f"{self._label},{_event(row)}"
        return label

    def add(self, plugin: PluginRuntime, routes: RouteTable, lines: dict[str, list[str]]) -> None:
        """Add the plugin's lines to those of each family."""
        self._begin(plugin, routes)
        for name, values in _values(plugin):
            lines[name].append(self._fixed[name] % values)
        lines["vconnect_plugin_info"].append(self._info(plugin))
        lines[_CALLS] += _calls(self._label, plugin)
        outcomes = lines["vconnect_events_total"]
        outcomes += [self._form_of(row) % row.counts() for row in plugin.rows.all()]
        lines[_PASSED_OVER] += [
            _PASSED % (_passed(self._label, row), row.count) for row in plugin.passed_over.rows
        ]
        lines[_PASSED_OVER].append(self._zeros)

    def _begin(self, plugin: PluginRuntime, routes: RouteTable) -> None:
        """Begin at zero what a plugin may count: of a series that begins at 1, `rate` sees none."""
        basis = (routes, len(plugin.rows.all()), len(plugin.passed_over.rows))
        if basis == self._zeros_of:
            return
        for event in plugin.capabilities[:MAX_ROWS]:
            if "*" not in event:
                plugin.rows.row(event)
        self._zeros = "".join(_PASSED % (labels, 0) for labels in self._uncounted(plugin, routes))
        self._zeros_of = (routes, len(plugin.rows.all()), len(plugin.passed_over.rows))

    def _uncounted(self, plugin: PluginRuntime, routes: RouteTable) -> Iterator[str]:
        """Yield the labels of each way to be passed over that has not been met yet."""
        counted = {(row.event, row.reason, row.effect) for row in plugin.passed_over.rows}
        for event in [row.event for row in plugin.rows.all() if row.event != OTHER]:
            step = routes.step(plugin, event)
            effect = Effect.REFUSED if step.is_closed else Effect.SKIPPED
            effect = effect if step.default is None else Effect.DEFAULT
            for reason in Reason:
                if (event, reason, effect) not in counted:
                    yield _passed(self._label, PassedOverRow(event, reason, effect))

    def _info(self, plugin: PluginRuntime) -> str:
        dialect = str(plugin.session.dialect) if plugin.session is not None else ""
        words = (
            ("version", plugin.declared.version),
            ("role", role_of(plugin)),
            ("dialect", dialect),
        )
        labels = ",".join(_quoted(name, value) for name, value in words)
        return f"vconnect_plugin_info{{{self._label},{labels}}} 1\n"

    def _form_of(self, row: Row) -> str:
        if (form := self._outcomes.get(row.event)) is None:
            label = self.label_of(row).replace("%", "%%")
            form = self._outcomes[row.event] = "".join(
                f'vconnect_events_total{{{label},outcome="{name}"}} %d\n' for name in OUTCOME_NAMES
            )
        return form


def _values(plugin: PluginRuntime) -> Iterator[tuple[str, tuple[object, ...]]]:
    """Yield each family of which a plugin has values, in the order of `_PLACES`."""
    session, breaker, usage = plugin.session, plugin.breaker, plugin.usage
    status = plugin.status
    yield "vconnect_plugin_state", tuple([int(status is one) for one in PluginStatus])
    serving = session is not None and breaker.state != "open"
    yield "vconnect_plugin_serving", (int(serving),)
    yield "vconnect_plugin_required", (int(plugin.policy.required),)
    yield "vconnect_plugin_generation", (plugin.generation,)
    counts = plugin.restart_counts
    yield "vconnect_plugin_restarts_total", tuple([counts[one] for one in RESTART_REASONS])
    if plugin.spawn_s is not None:
        yield "vconnect_plugin_spawn_seconds", (plugin.spawn_s,)
    if plugin.ready_s is not None:
        yield "vconnect_plugin_ready_seconds", (plugin.ready_s,)
    yield "vconnect_events_in_flight", (session.in_flight if session is not None else 0,)
    yield "vconnect_queue_events", (session.queued if session is not None else 0,)
    yield "vconnect_queue_bytes", (session.queued_bytes if session is not None else 0,)
    yield "vconnect_queue_limit_events", (plugin.max_queued,)
    yield "vconnect_notifications_dropped_total", _dropped(plugin)
    yield "vconnect_circuit_open", (int(breaker.is_open),)
    yield "vconnect_circuit_opened_total", (breaker.opened,)
    yield "vconnect_quarantined_events", (len(plugin.crashes.quarantine),)
    yield "vconnect_plugin_cpu_seconds_total", (round(plugin.cpu_s, 3),)
    if usage is not None:
        yield "vconnect_plugin_resident_memory_bytes", (usage.rss_bytes,)
        yield "vconnect_plugin_processes", (usage.processes,)
        if usage.open_files is not None:
            yield "vconnect_plugin_open_fds", (usage.open_files,)
    yield "vconnect_log_lines_total", tuple(plugin.log.kept.values())
    yield "vconnect_log_suppressed_total", (plugin.log.suppressed,)


def _calls(label: str, plugin: PluginRuntime) -> list[str]:
    """Return the lines of a plugin's calls: of those that it may make, and of those it made."""
    made = plugin.host_calls
    if not made and not plugin.permissions:
        return []
    names = {call for call, _ in made}
    names.update(call for call in plugin.permissions if "*" not in call)
    return [
        _CALL % (label, _escaped(call), became, made[call, became])
        for call in sorted(names)
        for became in HOST_CALL_OUTCOMES
    ]


def _dropped(plugin: PluginRuntime) -> tuple[int, int, int]:
    """Return how many notifications were dropped, by policy."""
    counters, session = plugin.counters, plugin.session
    dropped, displaced = counters.dropped, counters.displaced
    if session is not None:
        dropped += session.dropped
        displaced += session.displaced
    newest = dropped - displaced - counters.unconnected - counters.blocked
    return displaced, max(0, newest), counters.blocked
