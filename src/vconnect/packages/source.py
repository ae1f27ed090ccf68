"""The source of a package as an operator writes it, parsed once.

A source is a path, ``file://`` and a path (relative to the working directory, or percent-encoded as
in a URI), or an ``https://`` address. ``http://`` is accepted for the loopback, and for other hosts
if the operator allows it. It may also be ``NAME[@RANGE]``, which an index turns into one of these,
or ``sha256:`` and the digest of a package that was sent to the host.
"""

from __future__ import annotations

import ipaddress
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import msgspec

from vconnect.errors import ConfigError, InstallError
from vconnect.settings.paths import expand_home

from .archive import PACKAGE_SUFFIXES
from .wanted import Wanted, parse_wanted

#: Called with the bytes so far, and the total or ``None``.
Progress = Callable[[int, int | None], None]
# Names as in Go's GOOS and GOARCH, which packages for several systems usually use.
_SYSTEMS = {"darwin": "darwin", "linux": "linux", "win32": "windows"}
_MACHINES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
}


# A slash is missing, as in ``https:/host``. For ``file:`` that is another spelling.
_ONE_SLASH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/(?!/)")
_PIN = "#sha256="
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")
_SENT = "sha256:"
_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The limits of a download. Durations are in seconds.

    Attributes:
        connect_timeout: Time to resolve the host, connect and negotiate TLS.
        idle_timeout: Time between two chunks of a response.
        total_timeout: Time for everything together.
        redirects: The maximum number of redirects.
        retries: The maximum number of retries after a server error or a lost connection.
        retry_delay: Time before the first retry; doubled for each further retry.
    """

    connect_timeout: float = 10.0
    idle_timeout: float = 30.0
    total_timeout: float = 1800.0
    redirects: int = 5
    retries: int = 2
    retry_delay: float = 0.5


class Edition(msgspec.Struct, frozen=True):
    """What tells whether a file at an address is still the one that was downloaded.

    Attributes:
        etag: Its strong ETag, with the quotes.
        place: A digest of the address, without its query.
    """

    etag: str
    place: str


class Fetched(msgspec.Struct, frozen=True):
    """A package file on this machine.

    Attributes:
        path: The file.
        sha256: The digest of what was downloaded, in hex; empty for a file that was there already.
        size: The bytes that were downloaded.
        edition: Which file that was; ``None`` if the server does not say.
        is_unchanged: Whether it is what the caller has already, so that there is no file.
    """

    path: Path
    sha256: str = ""
    size: int = 0
    edition: Edition | None = None
    is_unchanged: bool = False


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a package comes from.

    Attributes:
        text: The path or URL, with its placeholders replaced.
        shown: The same for messages: without a URL's credentials and query.
        suffix: The package's extension, such as ``.vp``.
        path: The file on this machine; ``None`` for a URL.
        decoded: The file if the path is percent-encoded, as in a ``file:`` URI; ``None`` if there
            is nothing to decode.
        sha256: The digest that the package must have, in hex; empty if any will do.
        wanted: What is asked of an index, or was; ``None`` for a path or URL.
    """

    text: str
    shown: str
    suffix: str
    path: Path | None
    decoded: Path | None = None
    sha256: str = ""
    wanted: Wanted | None = None

    @property
    def entry(self) -> str:
        """The text with the digest, which is another entry of a configuration."""
        return f"{self.text}{_PIN}{self.sha256}" if self.sha256 else self.text

    @property
    def origin(self) -> str:
        """What was asked for, without credentials: what an upgrade asks for again."""
        return self.wanted.text if self.wanted is not None else self.shown

    @property
    def place(self) -> str:
        """Where it is, in one spelling: an absolute path, or an address without credentials."""
        if self.is_sent:
            return self.shown
        if self.path is not None:
            return str((self.decoded or self.path).absolute())
        scheme, _, rest = self.shown.partition("://")
        host, slash, path = rest.partition("/")
        return f"{scheme.lower()}://{host.lower()}{slash}{path}"

    @property
    def is_sent(self) -> bool:
        """Whether a client has sent it to the host."""
        return self.text.startswith(_SENT)

    @property
    def is_remote(self) -> bool:
        """Whether it is downloaded."""
        return self.path is None


def parse_source(
    text: str,
    *,
    allow_insecure_http: bool = False,
    suffixes: tuple[str, ...] = PACKAGE_SUFFIXES,
    sent: Path | None = None,
) -> Source:
    """Parse a source, without accessing the disk or the network.

    Args:
        text: A path, a URL, or ``NAME[@RANGE]`` of an index; ``${os}`` and ``${arch}`` are
            replaced, ``~`` is expanded, and ``#sha256=…`` at the end is the digest that the package
            must have.
        allow_insecure_http: Accept ``http://`` from hosts other than the loopback.
        suffixes: What a path or URL must end in.
        sent: Where packages are that were sent to the host; ``None`` for nowhere.

    Raises:
        InstallError: It has an unknown placeholder, scheme or extension, or a URL without a host.
    """
    text, sha256 = _unpinned(expand_source(text))
    if text.startswith(_SENT):
        return _parse_sent(text, sha256, sent)
    if wanted := parse_wanted(text):
        source = Source(text=wanted.text, shown=wanted.text, suffix="", path=None, wanted=wanted)
    else:
        source = _parse(text, suffixes, allow_insecure_http=allow_insecure_http)
    return msgspec.structs.replace(source, sha256=sha256)


def _parse_sent(text: str, pin: str, directory: Path | None) -> Source:
    """Parse ``sha256:`` and the digest of a package that was sent to the host."""
    digest = text.removeprefix(_SENT)
    if not _DIGEST.fullmatch(digest):
        raise InstallError(f"{text}: expected 64 hex digits behind {_SENT}")
    digest = digest.lower()
    if directory is None:
        raise InstallError(f"{text}: only packages that were sent to a host are named like this")
    if pin not in ("", digest):
        raise InstallError(f"{text}: has another digest than {_PIN}{pin} asks for")
    text = _SENT + digest
    return Source(text=text, shown=text, suffix="", path=directory / digest, sha256=digest)


def _unpinned(text: str) -> tuple[str, str]:
    """Split off ``#sha256=…`` at the end."""
    rest, pin, digest = text.rpartition(_PIN)
    if not pin:
        return text, ""
    if not _DIGEST.fullmatch(digest):
        raise InstallError(
            f"{shown_source(rest)}: sha256 is {digest!r}; expected 64 hex digits, as sha256sum "
            "prints them"
        )
    return rest, digest.lower()


def platform_name() -> str:
    """Name this platform as packages do: ``linux-amd64``."""
    machine = platform.machine().lower()
    return f"{_SYSTEMS.get(sys.platform, sys.platform)}-{_MACHINES.get(machine, machine)}"


def _parse(text: str, suffixes: tuple[str, ...], *, allow_insecure_http: bool) -> Source:
    if slash := _ONE_SLASH.match(text):
        scheme = slash[1].lower()
        if scheme != "file":
            raise InstallError(f"{shown_source(text)}: expected two slashes, {scheme}://")
        text = f"file:///{text[slash.end() :]}"
    if is_url(text):
        check_scheme(text, allow_insecure_http)
        shown = shown_source(text)
        suffix = _suffix(unquote(urlsplit(text).path), shown, suffixes)
        return Source(text=text, shown=shown, suffix=suffix, path=None)
    # Only `file://` is left here: other schemes were handled as URLs.
    scheme, separator, rest = text.partition("://")
    if not separator:
        path = _local_path(scheme, text)
        suffix = _suffix(str(path), text, suffixes)
        return Source(text=text, shown=text, suffix=suffix, path=path)
    # The host of a URI, which names this machine.
    if rest.startswith("localhost/"):
        rest = rest.removeprefix("localhost")
    path, decoded = _local_path(rest, text), None
    # Which of the two is meant, only the disk can tell: a file's name may contain a "%20" too.
    if "%" in rest:
        decoded = _local_path(unquote(rest, errors="surrogateescape"), text)
    suffix = _suffix(str(decoded or path), text, suffixes)
    return Source(text=text, shown=text, suffix=suffix, path=path, decoded=decoded)


def expand_source(source: str) -> str:
    """Replace ``${os}`` and ``${arch}`` with the values for this machine.

    Raises:
        InstallError: There is another placeholder, or no value of ``${arch}`` for this machine.

    >>> expand_source("plugin.vp")
    'plugin.vp'
    """
    return _PLACEHOLDER.sub(lambda match: _placeholder(match, source), source)


def shown_source(source: str) -> str:
    """Return ``source`` for messages, without the credentials and the query of a URL."""
    separator = ":/" if _ONE_SLASH.match(source) else "://"
    if separator == "://" and not is_url(source):
        return source
    # By hand, because it must also work for what `urlsplit` refuses.
    scheme, _, rest = source.partition(separator)
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    # A password with a "/", "?" or "#" that is not encoded ends the host too early.
    hidden = rest.rpartition("@")[0] if ":" in netloc and "@" not in netloc else ""
    if hidden:
        rest = f"***@{rest[len(hidden) + 1 :]}"
    rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    netloc, slash, path = rest.partition("/")
    shown = netloc if hidden else netloc.rpartition("@")[2]
    return f"{scheme.lower()}{separator}{shown}{slash}{path}"


def is_url(source: str) -> bool:
    """Return whether a source is downloaded."""
    scheme, separator, _ = source.partition("://")
    return bool(separator) and scheme.lower() != "file"


def check_scheme(url: str, allow_insecure_http: bool) -> None:
    """Refuse a URL that is neither HTTPS, nor HTTP where that is safe or allowed.

    Raises:
        InstallError: It is neither, or has no host.
    """
    scheme, host = _scheme_and_host(url)
    if scheme not in ("https", "http"):
        raise InstallError(
            f"{shown_source(url)}: {scheme}:// is not supported; use a path, file:// or https://"
        )
    if not host:
        raise InstallError(f"{shown_source(url)}: the address has no host")
    if scheme == "http" and not (allow_insecure_http or is_loopback(host)):
        raise InstallError(
            f"{shown_source(url)}: http:// from another machine can be tampered with; "
            "use https://, or set allow_insecure_http"
        )


def is_loopback(host: str) -> bool:
    """Return whether ``host`` is a name or an address of the loopback, without resolving it."""
    # Not resolved: DNS could map any other name to the loopback.
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _local_path(path: str, source: str) -> Path:
    if "\0" in path:
        raise InstallError(f"{source}: the path contains a NUL")
    try:
        return expand_home(path)
    except ConfigError as error:
        raise InstallError(f"{source}: {error}") from None


def _suffix(path: str, shown: str, suffixes: tuple[str, ...]) -> str:
    """Return the file's extension, from the path only: a query may contain anything."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in suffixes:
        what = "a package's" if suffixes == PACKAGE_SUFFIXES else "the right"
        raise InstallError(
            f"{shown}: {suffix or 'no extension'!r} is not {what} extension; "
            f"expected {' or '.join(suffixes)}"
        )
    return suffix


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        _ = parts.port  # validated only when it is accessed
        return parts.scheme.lower(), parts.hostname or ""
    except ValueError as error:
        # Some of urllib's messages quote the credentials, or what it takes for the port.
        why = "" if "@" in url else f": {error}"
        raise InstallError(f"{shown_source(url)}: not a valid address{why}") from None


def _placeholder(match: re.Match[str], source: str) -> str:
    name = match[1]
    if match[0].endswith("}") and name in ("os", "arch"):
        return _system(source) if name == "os" else _architecture(source)
    raise InstallError(
        f"{shown_source(source)}: unknown placeholder {match[0]!r}; known: ${{os}}, ${{arch}}"
    )


def _system(source: str) -> str:
    return _named("os", sys.platform, _SYSTEMS, source)


def _architecture(source: str) -> str:
    return _named("arch", platform.machine().lower(), _MACHINES, source)


def _named(placeholder: str, value: str, names: dict[str, str], source: str) -> str:
    if value not in names:
        allowed = ", ".join(sorted(set(names.values())))
        raise InstallError(
            f"{shown_source(source)}: no value of ${{{placeholder}}} for {value!r} "
            f"(known: {allowed}); write out the address"
        )
    return names[value]
