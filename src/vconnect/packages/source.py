"""The source of a package as an operator writes it, parsed once.

A source is a path, ``file://`` and a path (relative to the working directory), or an ``https://``
address. ``http://`` is accepted for the loopback, and for other hosts if the operator allows it.
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

from vconnect.errors import InstallError

from .archive import PACKAGE_SUFFIXES

Progress = Callable[[int, int | None], None]
_SYSTEMS = {"darwin": "darwin", "linux": "linux", "win32": "windows"}
_MACHINES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "aarch64": "arm64",
    "arm64": "arm64",
}


_PLACEHOLDER = re.compile(r"\$\{([^}]*)\}?")


class FetchLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long a download may take, and how often it may go wrong. Durations are seconds.

    Attributes:
        connect_timeout: To look up the host, connect and agree on TLS.
        idle_timeout: Between two pieces of an answer.
        total_timeout: For everything together.
        redirects: How many are followed.
        retries: How often a download begins again after a server's error or a lost connection.
        retry_delay: Before the first retry; it doubles.
    """

    connect_timeout: float = 10.0
    idle_timeout: float = 30.0
    total_timeout: float = 1800.0
    redirects: int = 5
    retries: int = 2
    retry_delay: float = 0.5


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Where a package comes from.

    Attributes:
        text: The path or address, with its placeholders replaced.
        shown: The same for messages: without the credentials and the query of an address.
        suffix: The package's extension, such as ``.vp``.
        path: The file on this machine; ``None`` for an address.
    """

    text: str
    shown: str
    suffix: str
    path: Path | None

    @property
    def is_remote(self) -> bool:
        """Whether it is fetched over the network."""
        return self.path is None


def parse_source(text: str, *, allow_insecure_http: bool = False) -> Source:
    """Parse a source without looking at the disk or the network.

    Args:
        text: A path or an address; ``${os}`` and ``${arch}`` are replaced, ``~`` is expanded.
        allow_insecure_http: Accept ``http://`` from other hosts than the loopback.

    Raises:
        InstallError: An unknown placeholder, scheme or extension, or an address without a host.
    """
    text = expand_source(text)
    if is_url(text):
        check_scheme(text, allow_insecure_http)
        shown = shown_source(text)
        suffix = _suffix(unquote(urlsplit(text).path), shown)
        return Source(text=text, shown=shown, suffix=suffix, path=None)
    scheme, separator, rest = text.partition("://")
    path = Path(rest if separator else scheme).expanduser()
    return Source(text=text, shown=text, suffix=_suffix(str(path), text), path=path)


def expand_source(source: str) -> str:
    """Replace ``${os}`` and ``${arch}`` by what this machine is.

    Raises:
        InstallError: Another placeholder, or a machine without a name for ``${arch}``.

    >>> expand_source("plugin.vp")
    'plugin.vp'
    """
    return _PLACEHOLDER.sub(lambda match: _placeholder(match, source), source)


def shown_source(source: str) -> str:
    """Return ``source`` for messages: without the credentials that a URL may carry."""
    if not is_url(source):
        return source
    parts = urlsplit(source)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_url(source: str) -> bool:
    """Tell whether a source is fetched over the network."""
    scheme, separator, _ = source.partition("://")
    return bool(separator) and scheme.lower() != "file"


def check_scheme(url: str, allow_insecure_http: bool) -> None:
    """Refuse an address that is not HTTPS, or HTTP where that is safe or allowed.

    Raises:
        InstallError: It is neither, or has no host.
    """
    scheme, host = _scheme_and_host(url)
    if scheme not in ("https", "http"):
        raise InstallError(
            f"{shown_source(url)}: {scheme}:// is not supported; "
            "a package comes from a path, file:// or https://"
        )
    if not host:
        raise InstallError(f"{shown_source(url)}: the address has no host")
    if scheme == "http" and not (allow_insecure_http or is_loopback(host)):
        raise InstallError(
            f"{shown_source(url)}: http:// to another machine can be changed on its way; "
            "use https://, or set allow_insecure_http"
        )


def is_loopback(host: str) -> bool:
    """Tell whether ``host`` is this machine by its very name."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _suffix(path: str, shown: str) -> str:
    """Return the package's extension, from its path alone: never from a query or a temp name."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in PACKAGE_SUFFIXES:
        raise InstallError(
            f"{shown}: {suffix or 'no extension'!r} is not a package's extension; "
            f"expected {' or '.join(PACKAGE_SUFFIXES)}"
        )
    return suffix


def _scheme_and_host(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url)
        _ = parts.port  # parsed, and refused, only when looked at
        return parts.scheme.lower(), parts.hostname or ""
    except ValueError as error:
        raise InstallError(f"{url!r}: not a valid address: {error}") from None


def _placeholder(match: re.Match[str], source: str) -> str:
    name = match[1]
    if match[0].endswith("}") and name in ("os", "arch"):
        return _system(source) if name == "os" else _architecture(source)
    raise InstallError(f"{source}: unknown placeholder {match[0]!r}; known: ${{os}}, ${{arch}}")


def _system(source: str) -> str:
    return _named("os", sys.platform, _SYSTEMS, source)


def _architecture(source: str) -> str:
    return _named("arch", platform.machine().lower(), _MACHINES, source)


def _named(placeholder: str, value: str, names: dict[str, str], source: str) -> str:
    if value not in names:
        allowed = ", ".join(sorted(set(names.values())))
        raise InstallError(
            f"{source}: no value for ${{{placeholder}}} on {value!r} (known: {allowed}); "
            "write the address out"
        )
    return names[value]
