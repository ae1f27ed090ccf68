"""A plugin made with the Python SDK whose handler does next to nothing."""

from __future__ import annotations

from vconnect.sdk import Context, Plugin, on, run_plugin


class Echo(Plugin):
    plugin_no = "echo"
    version = "1"

    @on("message.incoming")
    def answer(self, ctx: Context) -> None:
        ctx.reply({"type": 1})


if __name__ == "__main__":
    run_plugin(Echo)
