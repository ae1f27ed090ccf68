"""From a source as an operator writes it to a package file on this machine.

A source is a path, ``file://`` and a path (relative ones from the working directory), or an
``https://`` address; ``http://`` only where it does not leave the machine, unless allowed.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from vconnect.errors import InstallError

from .archive import PACKAGE_SUFFIXES
from .source import FetchLimits, Progress, check_scheme, expand_source, is_url, shown_source


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
