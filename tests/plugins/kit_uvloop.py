"""A program with an event loop of its own, which is a plugin too."""

import asyncio
import sys

import uvloop

from vconnect import Context, Plugin, PluginClient, on

client: PluginClient


class Embedded(Plugin):
    plugin_no = "wk.plugin.embedded"

    @on("echo")
    def echo(self, ctx: Context) -> None:
        ctx.reply([type(asyncio.get_running_loop()).__module__, ctx.payload])

    @on("end")
    async def end(self, ctx: Context) -> None:
        client.stop()


async def main() -> None:
    global client
    client = PluginClient(Embedded(), sys.argv[1])
    await client.run()


if __name__ == "__main__":
    uvloop.run(main())
