#!/usr/bin/env python3
"""Answer messages that contain a keyword, from a table in the configuration."""

from __future__ import annotations

import asyncio
from typing import Annotated

import msgspec

from vconnect import Context, Plugin, on, run_plugin


class Table(msgspec.Struct, forbid_unknown_fields=True):
    """The plugin's configuration. A struct can also restrict values."""

    answers: dict[str, str] = {}
    delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=5)] = 0.0


class AutoReply(Plugin):
    plugin_no = "wk.plugin.auto-reply"
    version = "0.1.0"
    priority = 10  # after word-filter (100): what was stopped is not answered
    capabilities = ("message.incoming", "user.online")
    concurrency = 8  # up to 8 messages wait at the same time
    config_type = Table
    config: Table

    @on("message.incoming")
    async def answer(self, ctx: Context) -> None:
        content = str(ctx.get("content", "")).casefold()
        for keyword, answer in self.config.answers.items():
            if keyword.casefold() in content:
                await asyncio.sleep(self.config.delay_seconds)  # looks less like a machine
                ctx.reply({"type": 1, "content": answer})
                return
        # No keyword, no reply: the host gets {"status": "ok"} and calls the next plugin.

    @on("user.*")
    def greet(self, ctx: Context) -> None:
        ctx.log.info("%s: %s", ctx.event, ctx.get("uid", "somebody"))


if __name__ == "__main__":
    run_plugin(AutoReply)
