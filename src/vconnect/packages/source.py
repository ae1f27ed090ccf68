"""A source as an operator writes it: its placeholders, its scheme, and how it is shown."""

from __future__ import annotations

import ipaddress
import platform
import re
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec

from vconnect.errors import InstallError

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
