"""From a source as an operator writes it to a package file on this machine.

A source is a path, ``file://`` and a path (relative ones from the working directory), or an
``https://`` address; ``http://`` only where it does not leave the machine, unless allowed.
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


async def fetch(
    source: str,
    directory: Path,
    *,
    max_bytes: int,
    allow_insecure_http: bool = False,
    progress: Progress | None = None,
    limits: FetchLimits | None = None,
) -> Path:
    """Return the path of the package that ``source`` names, downloading it if need be.

    A local package stays where it is. A download goes into ``directory``, and is removed again
    when it fails or is cancelled.

    Args:
        source: A path or an address; placeholders are replaced.
        directory: Where a download goes.
        max_bytes: The most that a download may have.
        allow_insecure_http: Accept ``http://`` from other hosts than the loopback.
        progress: Called with the bytes so far, and the total where the server tells it.
        limits: Timeouts and retries.

    Raises:
        InstallError: The source is no package, cannot be had, or breaks a limit.
    """
    source = expand_source(source)
    if not is_url(source):
        return _local(source)
    suffix = _suffix(unquote(urlsplit(source).path), source)
    check_scheme(source, allow_insecure_http)

    # Not at the top: it brings aiohttp, which local packages do not need.
    from .download import Download

    download = Download(
        source,
        directory / f"download{suffix}",
        max_bytes=max_bytes,
        allow_insecure_http=allow_insecure_http,
        progress=progress,
        limits=limits or FetchLimits(),
    )
    return await download.run()


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


def _local(source: str) -> Path:
    scheme, separator, rest = source.partition("://")
    path = Path(rest if separator else scheme).expanduser()
    _suffix(str(path), source)
    if not path.exists():
        raise InstallError(f"{source}: no such file (looked for {path.absolute()})")
    if not path.is_file():
        raise InstallError(f"{source}: not a regular file; a package was expected")
    return path


def _suffix(path: str, source: str) -> str:
    """Return the package's extension, from its path alone: never a query, never a temp name."""
    suffix = PurePosixPath(path).suffix.lower()
    if suffix not in PACKAGE_SUFFIXES:
        raise InstallError(
            f"{shown_source(source)}: {suffix or 'no extension'!r} is not a package's extension; "
            f"expected {' or '.join(PACKAGE_SUFFIXES)}"
        )
    return suffix
