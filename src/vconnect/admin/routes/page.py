"""The page's files. They come with the package, and nothing is ever fetched from elsewhere."""

from __future__ import annotations

import gzip
import hashlib
from functools import lru_cache
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePosixPath

from vconnect.admin.http.asked import Asked, Reply
from vconnect.admin.http.problems import Problem
from vconnect.admin.http.table import Route

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageRoutes:
    """The handlers."""

    def rows(self) -> list[Route]:
        """Return the rows of the table."""
        page = Route("GET", "/", None, self.index, "The dashboard", media="text/html")
        file = Route(
            "GET", "/{file}", None, self.file, "A file of the dashboard", media="text/plain"
        )
        return [page, file]

    async def index(self, asked: Asked) -> Reply:
        """Return the page."""
        return _reply("index.html", asked)

    async def file(self, asked: Asked) -> Reply:
        """Return one of its files."""
        return _reply(asked.names["file"], asked)


def _reply(name: str, asked: Asked) -> Reply:
    known = _files()
    if name not in known:
        raise Problem("unknown_route", f"no such route: {asked.path}")
    body, packed, tag = known[name]
    headers = {"ETag": tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if asked.headers.get("if-none-match") == tag:
        return Reply(status=HTTPStatus.NOT_MODIFIED, headers=headers)
    # There is nothing secret in them whose length could say something.
    if "gzip" in asked.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        body = packed
    return Reply(body, content_type=_TYPES[PurePosixPath(name).suffix], headers=headers)


@lru_cache(maxsize=1)
def _files() -> dict[str, tuple[bytes, bytes, str]]:
    """Read and compress the files once: together they are smaller than a picture."""
    found = {}
    for file in files("vconnect.admin").joinpath("page").iterdir():
        if PurePosixPath(file.name).suffix in _TYPES:
            body = file.read_bytes()
            tag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            found[file.name] = (body, gzip.compress(body, mtime=0), tag)
    return found
