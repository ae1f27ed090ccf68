"""``index.json``: what is in it, read and written within limits."""

# An index may have a hundred thousand files, and one of its plugins is wanted. So its plugins stay
# bytes until they are looked at: the event loop waits for no more than one of them, even if a
# thread does the work, and a plugin that is not valid spoils no other.

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote, unquote

import msgspec

from vconnect.bounds import MAX_VERSION_BYTES, MAX_WORDS_BYTES, cut
from vconnect.errors import InstallError
from vconnect.names import may_be_named
from vconnect.packages.platforms import ANY
from vconnect.packages.semver import Version
from vconnect.validation import place_and_words

INDEX_NAME = "index.json"
FORMAT = 1
MAX_INDEX_BYTES = 32 * 1024 * 1024
MAX_INDEX_FILES = 100_000

# What a web server may take for something else, or a path that leads elsewhere.
_RELATIVE = re.compile(r"(?!/)[^\\?#:\x00-\x20\x7f]+")

# What every reader of JSON can represent.
_Number = Annotated[int, msgspec.Meta(ge=0, le=(1 << 53) - 1)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Words = Annotated[str, msgspec.Meta(max_length=MAX_WORDS_BYTES)]
_VersionText = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_VERSION_BYTES)]


class IndexedFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A package file.

    Attributes:
        platform: The platform that its programs are for; ``any`` if they run on each.
        url: Where it is, relative to the index, percent-encoded.
        size: Its size in bytes.
        sha256: Its digest, in hex.
        tree: The digest of its contents, whatever they were compressed with.
        signature: Where its signature is, relative to the index; empty if it has none.
    """

    platform: _VersionText = ANY
    url: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_WORDS_BYTES)]
    size: _Number
    sha256: Sha256
    tree: str = ""
    signature: _Words = ""


class IndexedVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A version of a plugin.

    Attributes:
        version: The version, as its manifest has it.
        yanked: Why it was withdrawn; ``None`` if it was not.
        interface: The interfaces that it is written for.
        min_host_version: The oldest version of vconnect that can run it, or a range.
        requires: The plugins that it requires.
        permissions: Calls to the host that it asks for.
        files: Its files, one for each platform.
    """

    version: _VersionText
    yanked: _Words | None = None
    interface: tuple[str, ...] = ()
    min_host_version: str = ""
    requires: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    files: tuple[IndexedFile, ...] = ()


class IndexedPlugin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A plugin.

    Attributes:
        aliases: Other names of it.
        description: One line for operators.
        versions: Its versions, the highest first.
    """

    aliases: tuple[str, ...] = ()
    description: str = ""
    versions: tuple[IndexedVersion, ...] = ()

    def latest(self) -> IndexedVersion | None:
        """Return the highest version that was not withdrawn; a pre-release only without others."""
        there = [one for one in self.versions if one.yanked is None]
        return max(
            there,
            key=lambda one: (not (v := Version(one.version)).prerelease, v),
            default=None,
        )


class Index(msgspec.Struct, frozen=True, kw_only=True):
    """An index.

    Attributes:
        format: The version of the format.
        name: What it is called; may be empty.
        serial: Grows with each change.
        generated: When it was changed last.
        expires: From when on it may be an old copy; ``None`` for never.
        plugins: The plugins by their canonical names, as JSON; see `plugin`.
    """

    format: int = FORMAT
    name: _Words = ""
    serial: _Number
    generated: datetime | None = None
    expires: datetime | None = None
    plugins: dict[str, msgspec.Raw] = {}

    def plugin(self, name: str) -> IndexedPlugin:
        """Return a plugin that it has.

        Raises:
            InstallError: What it says of the plugin is not valid.
        """
        try:
            plugin = msgspec.json.decode(self.plugins[name], type=IndexedPlugin)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise InstallError(f"{name}: {_words(error)}") from None
        if problem := _problem_of(name, plugin):
            raise InstallError(f"{name}: {problem}")
        return plugin

    def find(self, name: str) -> str | None:
        """Return the name of the plugin that has a canonical name or alias; ``None`` for none."""
        if name in self.plugins:
            return name
        quoted = msgspec.json.encode(name)[1:-1]
        for own, raw in self.plugins.items():
            # Most are left out by their bytes, without being read.
            if quoted in bytes(raw) and name in self.plugin(own).aliases:
                return own
        return None

    def is_expired(self, now: datetime | None = None) -> bool:
        """Return whether it may be an old copy."""
        if self.expires is None:
            return False
        expires = self.expires
        if expires.tzinfo is None:
            expires = expires.replace(tzinfo=UTC)
        return expires < (now or datetime.now(UTC))


class _Head(msgspec.Struct):
    """What can be read of an index of any format."""

    format: int = FORMAT


def decode_index(data: bytes, origin: str) -> Index:
    """Decode an index. Blocks, and holds up other threads for some hundredths of a second.

    Args:
        data: The contents of the file.
        origin: Its path or address, for messages.

    Raises:
        InstallError: It is too large, not valid, or of a newer format.
    """
    if len(data) > MAX_INDEX_BYTES:
        raise InstallError(f"{origin}: has more than {MAX_INDEX_BYTES} bytes, which is the limit")
    try:
        index = msgspec.json.decode(data, type=Index)
    except (msgspec.MsgspecError, RecursionError) as error:
        _check_format(data, origin)
        raise InstallError(f"{origin}: is not a valid index: {_words(error)}") from None
    _check_format(data, origin, index.format)
    if len(index.plugins) > MAX_INDEX_FILES:
        raise InstallError(
            f"{origin}: has {len(index.plugins)} plugins; the limit is {MAX_INDEX_FILES}"
        )
    # Each file has a digest. Counted in the text, since plugins are not decoded here.
    if (files := data.count(b'"sha256"')) > MAX_INDEX_FILES:
        raise InstallError(f"{origin}: has {files} files; the limit is {MAX_INDEX_FILES}")
    return index


def _check_format(data: bytes, origin: str, found: int | None = None) -> None:
    """Refuse a newer format, which is why an index may not be valid."""
    if found is None:
        try:
            found = msgspec.json.decode(data, type=_Head).format
        except (msgspec.MsgspecError, RecursionError):
            return  # the mistake is another one
    if found > FORMAT:
        raise InstallError(
            f"{origin}: has format {found}, and this vconnect reads at most {FORMAT}; upgrade "
            "vconnect"
        )


def encode_index(index: Index) -> bytes:
    """Return an index as the text of its file: a line for each plugin.

    Raises:
        InstallError: It is too large.
    """
    head = msgspec.json.encode(msgspec.structs.replace(index, plugins={}))
    lines = [
        b"%b: %b" % (msgspec.json.encode(name), bytes(raw)) for name, raw in index.plugins.items()
    ]
    data = head.removesuffix(b"{}}") + b"{\n" + b",\n".join(lines) + b"\n}}\n"
    if len(data) > MAX_INDEX_BYTES:
        raise InstallError(
            f"the index would have {len(data)} bytes, and the limit is {MAX_INDEX_BYTES}; move "
            "old versions to another directory"
        )
    return data


def encode_plugin(plugin: IndexedPlugin) -> msgspec.Raw:
    """Return a plugin as `Index.plugins` has it."""
    return msgspec.Raw(msgspec.json.encode(plugin))


def is_relative(url: str) -> bool:
    """Return whether an address leads to something beside or below the index."""
    # A local index is read as paths, so what is percent-encoded counts too.
    return all(
        _RELATIVE.fullmatch(text) is not None and ".." not in text.split("/")
        for text in (url, quote(unquote(url), safe="/\\"))
    )


def _problem_of(name: str, plugin: IndexedPlugin) -> str:
    if not may_be_named(name):
        return "is not the name of a plugin"
    if twice := _first_twice(one.version for one in plugin.versions):
        return f"has version {twice} twice"
    for version in plugin.versions:
        if twice := _first_twice(file.platform for file in version.files):
            return f"{version.version} has two files for {twice}"
        for file in version.files:
            for url in filter(None, (file.url, file.signature)):
                if not is_relative(url):
                    return f"the address {cut(url, 100)!r} is not relative to the index"
    return ""


def _first_twice(texts: Iterator[str]) -> str:
    seen: set[str] = set()
    for text in texts:
        if text in seen:
            return text
        seen.add(text)
    return ""


def _words(error: Any) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, msgspec.DecodeError):
        place, words = place_and_words(error)
        return words if place == "$" else f"{place}: {words}"
    return str(error)
