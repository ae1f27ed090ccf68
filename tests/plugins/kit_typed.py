"""A plugin whose configuration has a type."""

from dataclasses import dataclass

from vconnect import Context, Plugin, run_plugin


@dataclass
class Settings:
    name: str = "Ada"


class Typed(Plugin):
    plugin_no = "wk.plugin.typed"
    capabilities = ("message",)
    config_type = Settings
    config: Settings

    def on_event(self, ctx: Context) -> None:
        ctx.reply(f"I am {self.config.name}")


if __name__ == "__main__":
    run_plugin(Typed)
