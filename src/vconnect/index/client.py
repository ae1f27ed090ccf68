"""Finds plugins in the indexes of a host."""

# The first index that has a name decides, in the order of the configuration; and a plugin that came
# from an index is looked for in that one, as long as the host still has it. So nobody can replace a
# plugin by giving the same name to another one elsewhere. An index that cannot be read is an error
# even if a later one has the name, for the same reason.

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

import msgspec

from vconnect.errors import InstallError, UnknownPluginError, VConnectError
from vconnect.packages.source import Source, parse_source
from vconnect.packages.wanted import Wanted, parse_wanted
from vconnect.settings.live import LiveSettings
from vconnect.store.layout import read_receipt
from vconnect.store.store import PluginStore
from vconnect.threads import in_thread

from .document import Index, IndexedFile, IndexedPlugin, IndexedVersion
from .fetch import IndexReader, Opened
from .resolve import Chosen, choose, this_machine

# A search is for somebody who reads what it finds.
MAX_HITS = 1000
_HINT = "a path has a slash, or ends in .vp or .wkp"

_log = logging.getLogger(__name__)


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """A plugin that a search has found.

    Attributes:
        name: Its canonical name.
        version: Its latest version; empty if all were withdrawn.
        description: One line for operators.
        index: The index that has it, without credentials.
    """

    name: str
    version: str = ""
    description: str = ""
    index: str


class Hits(msgspec.Struct, frozen=True, kw_only=True):
    """What a search has found.

    Attributes:
        plugins: The plugins, at most a thousand.
        total: How many there are.
        notes: What the operator should know about the indexes.
    """

    plugins: tuple[Hit, ...] = ()
    total: int = 0
    notes: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What an index has of a plugin.

    Attributes:
        name: Its canonical name.
        index: The index, without credentials.
        aliases: Other names of it.
        description: One line for operators.
        versions: Its versions, as the index has them.
        notes: What the operator should know about the index.
    """

    name: str
    index: str
    aliases: tuple[str, ...] = ()
    description: str = ""
    versions: tuple[IndexedVersion, ...] = ()
    notes: tuple[str, ...] = ()


class Upgrade(msgspec.Struct, frozen=True, kw_only=True):
    """What an index has for a plugin that came from it.

    Attributes:
        version: The version that an upgrade takes.
        digest: The sha256 of that package.
        latest: The highest version that was not withdrawn, in the range or not.
        yanked: Why the version that is installed was withdrawn; empty if it was not.
        permissions: What that version asks for.
        notes: What the operator should know.
    """

    version: str
    digest: str
    latest: str
    yanked: str = ""
    permissions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class _Known(NamedTuple):
    """What is known of a plugin here."""

    version: str = ""
    origin: str = ""


class _Owner(NamedTuple):
    """The index that decides about a name."""

    opened: Opened
    plugin: IndexedPlugin
    name: str
    known: _Known
    notes: tuple[str, ...]


class Indexes:
    """The indexes that the settings name.

    Args:
        settings: Which they are, and what is asked of their signatures.
        store: What is installed and locked.
        reader: Reads them; by default as these settings say.
    """

    def __init__(
        self, settings: LiveSettings, store: PluginStore, reader: IndexReader | None = None
    ) -> None:
        self._live = settings
        self._store = store
        self._reader = reader or IndexReader(settings)

    async def resolve(self, source: Source) -> Source:
        """Turn a name into the address of a package, with the digest that it must have.

        Args:
            source: The source, with what is wanted.

        Raises:
            VerificationError: An index is older than one that was seen, or not signed as it must.
            InstallError: No index has the plugin, nothing of it fits, or an index cannot be read.
        """
        assert source.wanted is not None, "it is a name"
        owner = await self._owner_of(source.wanted.name)
        wanted = msgspec.structs.replace(source.wanted, name=owner.name)
        chosen = choose(
            owner.plugin, wanted, this_machine(), locked=owner.known.version, sha256=source.sha256
        )
        index = owner.opened.source
        _log.info("%s: %s has %s", wanted.text, index.shown, chosen.version.version)
        wanted = msgspec.structs.replace(
            wanted,
            index=index.place,
            version=chosen.version.version,
            notes=(*owner.notes, *_notes_on(chosen, wanted)),
            files={one.platform: (one.sha256, one.size) for one in chosen.version.files},
        )
        return _source_of(
            index, chosen.file, wanted, allow_insecure_http=self._live.now.allow_insecure_http
        )

    async def look(self, wanted: Wanted) -> Upgrade:
        """Say what an upgrade of a plugin would take, without fetching it.

        Args:
            wanted: What was asked for when it was installed.

        Raises:
            InstallError: See `resolve`.
        """
        owner = await self._owner_of(wanted.name)
        wanted = msgspec.structs.replace(wanted, name=owner.name, is_upgrade=True)
        chosen = choose(owner.plugin, wanted, this_machine(), locked=owner.known.version)
        latest = owner.plugin.latest()
        return Upgrade(
            version=chosen.version.version,
            digest=chosen.file.sha256,
            latest=latest.version if latest is not None else "",
            yanked=_why_withdrawn(owner.plugin, owner.known.version),
            permissions=chosen.version.permissions,
            notes=(*owner.notes, *filter(None, (chosen.passed_over,))),
        )

    async def search(self, word: str) -> Hits:
        """Find the plugins whose name, alias or description has a word, in upper or lower case.

        Args:
            word: The word; empty for all.

        Raises:
            InstallError: No index can be read; see `resolve`.
        """
        hits: dict[str, Hit] = {}
        notes: list[str] = []
        errors: list[InstallError] = []
        sources = self._sources()
        for source in sources:
            try:
                opened = await self._reader.read(source)
            except InstallError as error:
                errors.append(error)
                if len(errors) == len(sources):
                    raise errors[0] from None
                continue
            found, problems = await in_thread(None, _search, opened, word.casefold())
            notes += [*opened.notes, *problems]
            for hit in found:
                first = hits.setdefault(hit.name, hit)
                if first is not hit:
                    notes.append(_also(hit.name, first.index, hit.index))
        notes += map(str, errors)
        sorted_hits = sorted(hits.values(), key=lambda one: one.name)
        return Hits(plugins=tuple(sorted_hits[:MAX_HITS]), total=len(hits), notes=tuple(notes))

    async def info(self, name: str) -> Entry:
        """Say what an index has of a plugin.

        Args:
            name: Any of its names, or ``NAME@RANGE`` for some of its versions.

        Raises:
            UnknownPluginError: No index has it.
            InstallError: It is no name, or see `resolve`.
        """
        wanted = parse_wanted(name)
        if wanted is None:
            raise InstallError(f"{name}: is a path or an address, and not the name of a plugin")
        try:
            owner = await self._owner_of(wanted.name)
        except _NowhereError as error:
            raise UnknownPluginError(wanted.name, error.words) from None
        versions = owner.plugin.versions
        if wanted.versions.text:
            versions = tuple(one for one in versions if wanted.versions.takes(one.version))
        return Entry(
            name=owner.name,
            index=owner.opened.source.place,
            aliases=owner.plugin.aliases,
            description=owner.plugin.description,
            versions=versions,
            notes=owner.notes,
        )

    def _sources(self) -> list[Source]:
        places = [place for place, one in self._live.now.sources.items() if one.index]
        if not places:
            raise InstallError(
                "this host has no index to ask; name one in its configuration: "
                '[plugins.sources."https://…/"] index = true'
            )
        return [self._reader.parse(place) for place in places]

    async def _owner_of(self, name: str) -> _Owner:
        """Return the index that decides about a name, and what it has of the plugin."""
        try:
            sources = self._sources()
        except InstallError as error:
            raise InstallError(f"{name}: is not a path or URL ({_HINT}), and {error}") from None
        known = await in_thread(None, self._known, name)
        meant = [one for one in sources if one.place == known.origin]
        notes: list[str] = []
        if known.origin and not meant:
            notes.append(
                f"{name} came from {known.origin}, which is no index of this host any more"
            )
        owner = await self._first_with(name, meant or sources, notes)
        if owner.name != name:
            known = await in_thread(None, self._known, owner.name)
        return owner._replace(known=known)

    async def _first_with(self, name: str, sources: Sequence[Source], notes: list[str]) -> _Owner:
        for number, source in enumerate(sources):
            opened = await self._reader.read(source)
            own = await in_thread(None, opened.content.find, name)
            if own is None:
                _log.debug("%s: is not in %s", name, source.shown)
                continue
            plugin = await in_thread(None, opened.content.plugin, own)
            told = [*notes, *opened.notes]
            for other in sources[number + 1 :]:
                told += await self._note_on_other(name, source, other)
            return _Owner(opened, plugin, own, _Known(), tuple(told))
        asked = ", ".join(source.shown for source in sources)
        raise _NowhereError(name, f"no index has a plugin of this name (asked: {asked}); {_HINT}")

    async def _note_on_other(self, name: str, source: Source, other: Source) -> list[str]:
        """Say whether another index has the name too. It decides nothing, so it may fail."""
        try:
            opened = await self._reader.read(other)
            own = await in_thread(None, opened.content.find, name)
        except VConnectError as error:
            return [f"whether another index has {name} is not known: {error}"]
        return [] if own is None else [_also(name, source.place, other.place)]

    def _known(self, name: str) -> _Known:
        """Find out which version of a plugin is locked, and which index it came from. Blocks."""
        locks = self._store.locks
        locked = locks.entries().get(name) if locks is not None else None
        if locked is not None:
            return _Known(locked.version, locked.source)
        current = self._store.home(name).current()
        if current is None or current.is_legacy:
            return _Known()
        return _Known(current.version, read_receipt(current.directory).index)


class _NowhereError(InstallError):
    """No index has a plugin."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(f"{name}: {words}")
        self.words = words


def _also(name: str, first: str, other: str) -> str:
    return f"{name} is in {first}, which comes first and is taken, and in {other}"


def _notes_on(chosen: Chosen, wanted: Wanted) -> Iterator[str]:
    if chosen.version.yanked is not None:
        words = f"{wanted.name} {chosen.version.version} was withdrawn: {chosen.version.yanked}"
        _log.warning("%s; it is taken because it is locked", words)
        yield words
    if chosen.passed_over:
        yield chosen.passed_over


def _why_withdrawn(plugin: IndexedPlugin, version: str) -> str:
    """Return why a version was withdrawn; empty if it was not."""
    for one in plugin.versions:
        if one.version == version and one.yanked is not None:
            return one.yanked or "no reason given"
    return ""


def _source_of(
    index: Source, file: IndexedFile, wanted: Wanted, *, allow_insecure_http: bool
) -> Source:
    """Return where a file of an index is."""
    if index.path is not None:
        text = str((index.decoded or index.path).absolute().parent / unquote(file.url))
    else:
        parts = urlsplit(index.text)
        path = f"{parts.path.rpartition('/')[0]}/{file.url}"
        text = urlunsplit(parts._replace(path=path))
    source = parse_source(text, allow_insecure_http=allow_insecure_http)
    return msgspec.structs.replace(source, sha256=file.sha256, wanted=wanted)


def _search(opened: Opened, word: str) -> tuple[list[Hit], list[str]]:
    """Find plugins, and say which entries of the index cannot be read. Blocks."""
    index: Index = opened.content
    hits, problems = [], []
    for name in index.plugins:
        try:
            plugin = index.plugin(name)
        except InstallError as error:
            problems.append(f"{opened.source.shown}: {error}")
            continue
        if any(word in text.casefold() for text in (name, plugin.description, *plugin.aliases)):
            latest = plugin.latest()
            hits.append(
                Hit(
                    name=name,
                    version=latest.version if latest is not None else "",
                    description=plugin.description,
                    index=opened.source.place,
                )
            )
    return hits, problems[:1] + [f"… and {len(problems) - 1} more"] * (len(problems) > 1)
