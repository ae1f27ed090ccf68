"""What the administration interface answers with, for both of its ends."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from vconnect.names import LogLevel
from vconnect.plain import Plain
from vconnect.plugins.passed_over import Effect, Reason
from vconnect.seeing.summary import PluginSummary


class PluginList(Plain, frozen=True):
    """The answer of ``GET /api/plugins``.

    Attributes:
        host: The host's name.
        generated_at: When this was true, in Unix seconds.
        window_s: The seconds that "the last minute" has.
        plugins: The plugins.
    """

    host: str
    generated_at: float
    window_s: float
    plugins: list[PluginSummary]


class LogEntry(Plain, frozen=True):
    """A record of a plugin's log as a client gets it.

    Attributes:
        seq: Its number in the plugin's log; consecutive.
        time: When the host read it, in Unix seconds.
        stream: ``stdout``, ``stderr``, ``log``, ``host`` or ``state``.
        level: Its level.
        text: The text. A plugin has written it: escape it before a terminal sees it.
        fields: Its fields by name.
    """

    seq: int
    time: float
    stream: str
    level: LogLevel
    text: str
    fields: dict[str, Any] = msgspec.field(default_factory=dict)


class LogEntries(Plain, frozen=True):
    """The answer of ``GET /api/plugins/{name}/logs``.

    Attributes:
        records: The records, oldest first.
        next: The value of ``after`` that continues from here.
        dropped: How many records after ``after`` have already been discarded.
        began: When the numbering began, in Unix seconds; a changed value voids old numbers.
    """

    records: tuple[LogEntry, ...]
    next: int
    dropped: int
    began: float


class LogRow(LogEntry, frozen=True, kw_only=True):
    """A record of one of several logs.

    Attributes:
        plugin: The plugin whose log it is from; ``None`` for the host.
    """

    plugin: str | None


class LogGap(Plain, frozen=True):
    """Records of a plugin that were gone before they could be sent.

    Attributes:
        plugin: The plugin.
        dropped: How many there were.
    """

    plugin: str
    dropped: int


class LogRows(Plain, frozen=True):
    """The answer of ``GET /api/logs``.

    Attributes:
        records: The records, oldest first.
    """

    records: list[LogRow]


class PassedOverEntry(Plain, frozen=True):
    """Events of one name that passed a plugin over.

    Attributes:
        event: The event.
        reason: Why it was not sent to the plugin.
        effect: What became of it.
        count: How many there were since the host started.
        first: When the first one came, in Unix seconds.
        last: When the last one came.
        words: The reason, for a person.
    """

    event: str
    reason: Reason
    effect: Effect
    count: int
    first: float
    last: float
    words: str


class SentPackage(Plain, frozen=True):
    """The answer of ``PUT /api/blobs/{sha256}``.

    Attributes:
        source: What an installation calls it: ``sha256:`` and its digest.
    """

    source: str


class AuditRecord(Plain, frozen=True, kw_only=True):
    """One change that somebody has asked for.

    Attributes:
        seq: Its number.
        time: When it was done, in Unix seconds.
        who: Who has asked for it.
        via: How: ``socket``, ``tcp`` or ``application``.
        role: Their role.
        order: What was asked for, such as ``restart``.
        plugin: The plugin; ``None`` if it is about none or several.
        result: ``ok``, or the code of the problem.
        ms: How long it took, in milliseconds.
    """

    seq: int
    time: float
    who: str
    via: str
    role: str
    order: str
    plugin: str | None
    result: str
    ms: int


class OrderState(Plain, frozen=True, kw_only=True):
    """What has become of an order.

    Attributes:
        id: Its number.
        order: What was ordered, such as ``restart``.
        plugin: The plugin; ``None`` if it is about none or several.
        who: Who has ordered it.
        began: When, in Unix seconds.
        state: ``running``, ``done`` or ``failed``.
        status: The HTTP status of its answer; ``None`` while it runs.
        answer: The answer; ``None`` while it runs, or if it is too large to be kept.
    """

    id: str
    order: str
    plugin: str | None
    who: str
    began: float
    state: Literal["running", "done", "failed"] = "running"
    status: int | None = None
    answer: Any = None
