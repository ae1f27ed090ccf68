"""What each command prints with ``--json``, as JSON Schema."""

# The types are those of the host's answers and of what commands find themselves, so nothing is
# written down twice. They are many and take long to import, so only `vconnect schema` and tests
# import this module.

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from vconnect.admin.answers import LogEntry, PluginList
from vconnect.bench.run import Report
from vconnect.checks.doctor import Diagnosis
from vconnect.checks.report import Finding
from vconnect.dispatch.results import Outcome
from vconnect.host.summary import HostSummary
from vconnect.index.build import Built
from vconnect.index.client import Hits
from vconnect.index.package import PackageInfo
from vconnect.json_schema import schema_of_output
from vconnect.operations.changes import Change
from vconnect.operations.configuration import ConfigChange, ConfigValue
from vconnect.operations.queries import PluginInfo
from vconnect.operations.reload import Reloaded
from vconnect.operations.versions import Outdated, VersionSummary
from vconnect.packages.pack import Packed
from vconnect.plugins.latency import Latency
from vconnect.seeing.summary import PluginSummary
from vconnect.seeing.trace import Trace
from vconnect.seeing.why import Why
from vconnect.store.verify import Verified
from vconnect.trust.keyring import TrustedKey

from .forms import (
    Created,
    Failure,
    IndexFault,
    KeyPair,
    LoginUrl,
    LostEvents,
    LostLines,
    Refused,
    SampledEvents,
    Signed,
    SignedFiles,
)


class HostStatus(HostSummary, frozen=True, kw_only=True):
    """What an operator sees of the host itself, as the administration interface answers.

    Attributes:
        id: Its name and its PID.
        name: Its name.
        role: What whoever asks may do: ``view`` or ``operate``.
        boot: Changes with each start of the host.
        rss_bytes: Its resident memory; ``None`` if unknown.
        loop_lag: How late its event loop was in the last minute; ``None`` if unknown.
    """

    id: str
    name: str
    role: str | None
    boot: str
    rss_bytes: int | None
    loop_lag: Latency | None


class Frame(PluginList, frozen=True, kw_only=True):
    """The plugins and the host at one moment.

    Attributes:
        status: The host itself, as ``vconnect status`` shows it.
    """

    status: HostStatus


class LogLine(LogEntry, frozen=True, kw_only=True):
    """A record of a log.

    Attributes:
        plugin: The plugin; ``host`` for what happened to the host and to all plugins.
    """

    plugin: str


class PackedAndSigned(Packed, frozen=True, kw_only=True):
    """A package that was created.

    Attributes:
        signed: Its signature; ``None`` if it was not signed.
    """

    signed: Signed | None


class BuiltIndex(Built, frozen=True, kw_only=True):
    """An index that was made.

    Attributes:
        faults: Why nothing was written: what is wrong, and where.
    """

    faults: tuple[IndexFault, ...]  # type: ignore[assignment]  # objects instead of pairs


class TrustedKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The keys whose signatures count.

    Attributes:
        keys: The keys; what has its default is left out.
    """

    keys: list[TrustedKey]


class Form(NamedTuple):
    """What a command prints.

    Attributes:
        kinds: Types, any of which it has; a list of types stands for an array of any of them.
        note: When it has which one; empty if there is only one.
    """

    kinds: tuple[Any, ...]
    note: str = ""


_ORDER = Form(
    (PluginSummary, [PluginSummary, Refused]),
    "With a pattern, several names, `--all` or `--dry-run` it is an array.",
)
_CHANGES = Form(([Change],))
_KEY = Form((TrustedKey,))
_INDEX = Form((BuiltIndex,))

#: By the command, its words joined by hyphens; ``error`` is what each of them prints if it fails.
FORMS = {
    **dict.fromkeys(("start", "stop", "restart", "enable", "disable", "release"), _ORDER),
    **dict.fromkeys(("install", "upgrade", "rollback", "uninstall", "rescan"), _CHANGES),
    **dict.fromkeys(("trust", "untrust"), _KEY),
    **dict.fromkeys(("index-build", "index-yank"), _INDEX),
    **dict.fromkeys(("config-set", "config-unset"), Form((ConfigChange,))),
    "bench": Form((Report,)),
    "check": Form(([Finding],)),
    "config-get": Form(([ConfigValue],)),
    "dashboard": Form((LoginUrl,)),
    "doctor": Form((Diagnosis,)),
    "emit": Form((Outcome,)),
    "error": Form((Failure,)),
    "info": Form((PluginInfo, PackageInfo), "Of a package file it is `PackageInfo`."),
    "keygen": Form((KeyPair,)),
    "list": Form((PluginList, [VersionSummary]), "With `--versions` it is an array."),
    "logs": Form(
        ([LogLine], LogLine, LostLines),
        "With `--follow`, each line is a `LogLine`, or `LostLines`.",
    ),
    "new": Form((Created,)),
    "outdated": Form(([Outdated],)),
    "pack": Form((PackedAndSigned,)),
    "reload": Form((Reloaded,)),
    "search": Form((Hits,)),
    "sign": Form((SignedFiles,)),
    "status": Form((PluginSummary, HostStatus), "Without a name it is `HostStatus`."),
    "tail": Form(
        (Trace, LostEvents, SampledEvents),
        "Each line is a `Trace`, `LostEvents` or `SampledEvents`.",
    ),
    "top": Form((Frame,), "Each line is a `Frame`."),
    "trusted": Form((TrustedKeys,)),
    "verify": Form(([Verified],)),
    "why": Form((Why,)),
}


def output_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of what a command prints.

    Args:
        name: A key of `FORMS`.
    """
    form = FORMS[name]
    if name == "error":
        title, words = "vconnect … --json", "What a command prints with `--json` if it fails."
    else:
        title = f"vconnect {name.replace('-', ' ')} --json"
        words = f"What `{title}` prints."
    return schema_of_output(form.kinds, title, " ".join(filter(None, (words, form.note))))
