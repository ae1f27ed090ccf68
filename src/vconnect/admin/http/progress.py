"""Answers that show the progress: a line of JSON for each step, and the result as the last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from vconnect.packages.progress import Report, Step
from vconnect.seeing.encoding import encode

from .asked import Asked, Reply
from .problems import reply_to_error

JSON_LINES = "application/jsonl"
# The shortest time between two lines of progress.
_PACE_S = 0.5


def wants_lines(asked: Asked) -> bool:
    """Return whether a client asks for lines of progress before the result."""
    return any(
        kind.partition(";")[0].strip().lower() == JSON_LINES
        for kind in asked.headers.get("accept", "").split(",")
    )


def with_progress(
    asked: Asked,
    work: Callable[[Report], Awaitable[dict[str, Any]]],
    code_of: Callable[[dict[str, Any]], str],
) -> Reply:
    """Do some work and answer with its progress in lines; the last one is the result.

    If the client goes away, the work goes on. An error is the last line, in the form that all
    errors have: the status has been sent by then.

    Args:
        asked: The request.
        work: Does it, and returns the result.
        code_of: Returns the code of a result that is a failure in part; empty for others.
    """
    steps: list[Step] = []
    ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def run() -> bytes:
        try:
            result = await work(steps.append)
        except Exception as error:  # noqa: BLE001 - the boundary, as for all other routes
            reply = reply_to_error(error, f"{asked.method} {asked.path}")
            ended.set_result(reply.code)
            return reply.body
        ended.set_result(code_of(result))
        return encode(result)

    task = asyncio.ensure_future(run())
    task.add_done_callback(lambda _: None if ended.done() else ended.set_result("cancelled"))
    return Reply(content_type=JSON_LINES, chunks=_lines(task, steps), ended=ended)


async def _lines(task: asyncio.Future[bytes], steps: list[Step]) -> AsyncIterator[bytes]:
    # The work must not wait for a client that reads slowly, so it is not told of the writing.
    try:
        while not (await asyncio.wait([task], timeout=_PACE_S))[0]:
            if steps:
                line = encode({"progress": steps[-1]})
                steps.clear()
                yield line + b"\n"
    finally:
        task.cancel()  # the host ends before the work does
    yield task.result() + b"\n"
