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
    """Return the path of the package that ``source`` refers to, downloading it if necessary.

    A local package stays where it is. A download goes into ``directory``, and is removed if it
    fails or is cancelled.

    Args:
        source: The source of the package.
        directory: The directory for a download.
        max_bytes: The maximum size of a download.
        allow_insecure_http: Accept redirects to ``http://`` on hosts other than the loopback.
        progress: Called with the bytes so far, and the total if the server sends it.
        limits: Timeouts and retries.

    Raises:
        InstallError: There is no such package, it cannot be downloaded, or it exceeds a limit.
    """
    if source.path is not None:
        _check_file(source.path, source.shown)
        return source.path

    # Imported here because it imports aiohttp, which local packages do not need.
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
        raise InstallError(f"{shown}: not a regular file; expected a package")
