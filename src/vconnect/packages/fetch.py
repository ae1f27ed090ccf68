"""From a source to a package file on this machine."""

from __future__ import annotations

from pathlib import Path

from vconnect.errors import InstallError

from .source import FetchLimits, Progress, Source


async def fetch(
    source: Source,
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
        source: Where the package comes from.
        directory: Where a download goes.
        max_bytes: The largest download, in bytes.
        allow_insecure_http: Accept redirects to ``http://`` on other hosts than the loopback.
        progress: Called with the bytes so far, and the total if the server sends it.
        limits: Timeouts and retries.

    Raises:
        InstallError: There is no such package, it cannot be downloaded, or it breaks a limit.
    """
    if source.path is not None:
        _check_file(source.path, source.shown)
        return source.path

    # Not at the top: it brings aiohttp, which local packages do not need.
    from .download import Download

    download = Download(
        source,
        directory / f"download{source.suffix}",
        max_bytes=max_bytes,
        allow_insecure_http=allow_insecure_http,
        progress=progress,
        limits=limits or FetchLimits(),
    )
    return await download.run()


def _check_file(path: Path, shown: str) -> None:
    if not path.exists():
        raise InstallError(f"{shown}: no such file (looked for {path.absolute()})")
    if not path.is_file():
        raise InstallError(f"{shown}: not a regular file; a package was expected")
