"""From a source to a package file on this machine."""

from __future__ import annotations

from pathlib import Path

from vconnect.errors import InstallError

from .source import Edition, Fetched, FetchLimits, Progress, Source


async def fetch(
    source: Source,
    directory: Path,
    *,
    max_bytes: int,
    allow_insecure_http: bool = False,
    progress: Progress | None = None,
    limits: FetchLimits | None = None,
    partial: Path | None = None,
    known: Edition | None = None,
) -> Fetched:
    """Return the package that ``source`` refers to, downloading it if necessary.

    A local package stays where it is. A download goes into ``directory``, and is not there if it
    fails or is cancelled.

    Args:
        source: The source of the package.
        directory: The directory for a download.
        max_bytes: The maximum size of a download.
        allow_insecure_http: Accept redirects to ``http://`` on hosts other than the loopback.
        progress: Called with the bytes so far, and the total if the server sends it.
        limits: Timeouts and retries.
        partial: The directory for interrupted downloads, which a later one continues; ``None`` to
            keep none. The directory above it exists and is private.
        known: What the caller has already, and need not be sent again.

    Raises:
        InstallError: There is no such package, it cannot be downloaded, or it exceeds a limit.
    """
    if source.path is not None:
        return Fetched(_local_file(source.path, source))

    # Imported here because it imports aiohttp, which local packages do not need.
    from .fetching.download import Download
    from .fetching.partial import Parts

    download = Download(
        source,
        directory / f"download{source.suffix}",
        max_bytes=max_bytes,
        allow_insecure_http=allow_insecure_http,
        progress=progress,
        limits=limits or FetchLimits(),
        parts=Parts(partial, max_bytes) if partial is not None else None,
        known=known,
    )
    return await download.run()


def _local_file(path: Path, source: Source) -> Path:
    if not path.exists() and source.decoded is not None:
        path = source.decoded
    if source.is_sent and not path.exists():
        raise InstallError(
            f"{source.shown}: was not sent to this host, or too long ago; send it again"
        )
    if not path.exists():
        raise InstallError(f"{source.shown}: no such file (looked for {path.absolute()})")
    if not path.is_file():
        raise InstallError(f"{source.shown}: not a regular file; expected a package")
    return path
