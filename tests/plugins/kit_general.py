"""A plugin that shows each thing that the kit can do."""

import asyncio

from vconnect import Context, Plugin, on, run_plugin


class General(Plugin):
    plugin_no = "wk.plugin.general"
    version = "1.2.3"
    priority = 7

    async def on_start(self) -> None:
        print("started with", self.config)
        self.count = 0

    def on_stop(self) -> None:
        print("stopped")

    def on_config_update(self, config) -> None:
        if config.get("refused"):
            raise ValueError("refused")
        print("update from", self.config, "to", config)

    @on("echo")
    def echo(self, ctx: Context) -> None:
        ctx.reply(ctx.payload)

    @on("count")
    def counter(self, ctx: Context) -> None:
        self.count += 1
        ctx.reply(self.count)

    @on("config")
    def tell_config(self, ctx: Context) -> None:
        ctx.reply(ctx.config)

    @on("slow")
    async def slow(self, ctx: Context) -> None:
        print("slow begins")
        await asyncio.sleep(ctx.payload)
        ctx.reply("slow")

    @on("fail")
    async def fail(self, ctx: Context) -> None:
        raise ValueError("asked to fail")

    @on("refuse")
    def refuse(self, ctx: Context) -> None:
        ctx.reply_error("not today")

    @on("unsendable")
    def unsendable(self, ctx: Context) -> None:
        ctx.reply(object())

    @on("chain.stop")
    def stop(self, ctx: Context) -> None:
        ctx.reply("enough")
        ctx.stop()

    @on("chain.replace")
    def replace(self, ctx: Context) -> None:
        ctx.replace({"content": "new"})

    @on("silent")
    def silent(self, ctx: Context) -> None:
        pass


if __name__ == "__main__":
    run_plugin(General)
