"""The other end of ``vconnect bench``: echo plugins that use the SDK, all in one process.

    python -m vconnect.bench.peer --socket PATH --plugins N

Plugin ``bench-0`` answers every event with its payload. Plugin N declares the events that
`vconnect.bench.works` sends to more than N plugins.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal

from vconnect.sdk import Context, Plugin
from vconnect.sdk.client import PluginClient

from .works import events_of, plugin_name


class Echo(Plugin):
    """Answers with the payload that it gets.

    Args:
        number: Its number, from 0.
    """

    version = "1"

    def __init__(self, number: int) -> None:
        self.plugin_no = plugin_name(number)
        self.capabilities = events_of(number)

    def on_event(self, ctx: Context) -> None:
        """Answer with the payload."""
        ctx.reply(ctx.payload)


async def serve(socket: str, plugins: int) -> None:
    """Serve until the host is gone, or until SIGTERM."""
    # The benchmark may be killed, and must not leave a process with a hundred plugins behind.
    host = os.getppid()
    clients = [PluginClient(Echo(number), socket, host_pid=host) for number in range(plugins)]
    loop = asyncio.get_running_loop()
    # The benchmark ends this process with SIGTERM, after which every client drains.
    loop.add_signal_handler(signal.SIGTERM, _stop, clients)
    await asyncio.gather(*(client.run() for client in clients))


def _stop(clients: list[PluginClient]) -> None:
    for client in clients:
        client.stop()


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--plugins", type=int, required=True)
    options = parser.parse_args()
    # Only errors: connecting a hundred plugins would log hundreds of lines.
    logging.basicConfig(level=logging.ERROR)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(options.socket, options.plugins))


if __name__ == "__main__":
    main()
