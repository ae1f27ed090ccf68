"""The whole program: plugins, their administration, the chat, and its web server."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from . import tour
from .administration import administration
from .building import Prepared
from .chat import Chat
from .embedding import new_runtime
from .web import web_server

LOOK_EVERY_S = 1.0
# The kernel allows about a hundred bytes for the path of a socket.
MAX_DIRECTORY_BYTES = 70


class Places(NamedTuple):
    """Where the chat is.

    Attributes:
        port: The wanted port.
        directory: The directory for sockets and state, or ``None`` for a temporary one.
    """

    port: int
    directory: Path | None


async def serve(places: Places, prepared: Prepared) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP, each of which cancels this task.

    A second one ends the plugins at once instead of in order.
    """
    _cancel_on_signals()
    sources = {source.name: source.path for source in prepared.sources}
    with _directory(places.directory) as directory:
        async with (
            new_runtime(sources, directory) as runtime,
            administration(runtime, directory) as administered,
        ):
            await runtime.start_all()
            chat = Chat(runtime, administered.address)
            async with web_server(chat, places.port) as address, _watched(chat):
                tour.show(address, places.port, administered, runtime, prepared)
                await asyncio.Event().wait()


def _cancel_on_signals() -> None:
    task = asyncio.current_task()
    assert task is not None, "this is a coroutine"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


@contextmanager
def _directory(wanted: Path | None) -> Iterator[Path]:
    """Make the directory for sockets and state, private to this user."""
    if wanted is not None:
        wanted.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    is_long = len(os.fsencode(tempfile.gettempdir())) > MAX_DIRECTORY_BYTES
    with tempfile.TemporaryDirectory(prefix="chat-", dir="/tmp" if is_long else None) as made:
        yield Path(made).resolve()


@asynccontextmanager
async def _watched(chat: Chat) -> AsyncIterator[None]:
    """Show the states of the plugins to everybody as they change."""
    watch = asyncio.create_task(_watch(chat))
    try:
        yield
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


async def _watch(chat: Chat) -> None:
    while True:
        chat.show_plugins()
        await asyncio.sleep(LOOK_EVERY_S)
