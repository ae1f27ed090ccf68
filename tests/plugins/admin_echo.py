"""A plugin for the edges' tests: answers, fails or sleeps as the payload tells it."""

from __future__ import annotations

import asyncio
import sys

from vconnect import Context, Plugin, run_plugin


class Echo(Plugin):
    plugin_no = "wk.plugin.echo"
    version = "1.2.3"
    priority = 5
    capabilities = ["test", "<script>alert(1)</script>"]  # noqa: RUF012

    async def on_event(self, ctx: Context) -> None:
        wish = ctx.get("wish")
        if wish == "fail":
            ctx.reply_error("\x1b[31mas you wish\x1b[0m <script>")
            return
        if wish == "sleep":
            await asyncio.sleep(30)
        if wish == "stop":
            ctx.stop()
        ctx.reply({"echo": ctx.payload})


if __name__ == "__main__":
    print("echo begins \x1b]0;owned\x07<script>alert(1)</script>", file=sys.stderr, flush=True)
    run_plugin(Echo)
