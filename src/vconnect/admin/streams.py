"""Responses that show the progress: a line of JSON for each step, and the result as the last."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from aiohttp import web

from vconnect.packages.progress import Report, Step

from .responses import HEADERS, encode, response_for_any

JSON_LINES = "application/jsonl"
# The shortest time between two lines of progress.
_PACE_S = 0.5


def wants_lines(request: web.Request) -> bool:
    """Return whether a client asks for lines of progress before the result."""
    return any(
        kind.partition(";")[0].strip().lower() == JSON_LINES
        for kind in request.headers.get("Accept", "").split(",")
    )


async def stream(
    request: web.Request, work: Callable[[Report], Awaitable[dict[str, Any]]]
) -> web.StreamResponse:
    """Do some work and respond with its progress in lines; the last one is the result.

    If the client goes away, the work goes on. An error is the last line, in the form that all
    errors have: the status has been sent by then.
    """
    response = web.StreamResponse(headers={**HEADERS, "Content-Type": JSON_LINES})
    await response.prepare(request)
    steps: list[Step] = []
    task = asyncio.ensure_future(work(steps.append))
    try:
        # The work must not wait for a client that reads slowly, so it is not told of the writing.
        while not (await asyncio.wait([task], timeout=_PACE_S))[0]:
            if steps:
                line = encode({"progress": steps[-1]})
                steps.clear()
                await _write(response, line)
    finally:
        # Of a host that closes; otherwise it is done.
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
    try:
        line = encode(task.result())
    except Exception as error:  # noqa: BLE001 - the boundary, as for all other routes
        body = response_for_any(request, error).body
        assert isinstance(body, bytes), "it has been encoded"
        line = body
    await _write(response, line)
    return response


async def _write(response: web.StreamResponse, line: bytes) -> None:
    # Without a client the work is as good as with one, and its result is in the log.
    with suppress(ConnectionError):
        await response.write(line + b"\n")
