"""A plugin that fails where its VCONNECT_TEST_FAIL says."""

import os

from vconnect import ConfigError, Plugin, run_plugin

WHERE = os.environ["VCONNECT_TEST_FAIL"]


class Fails(Plugin):
    plugin_no = "" if WHERE == "class" else "wk.plugin.fails"
    capabilities = ("message",)

    async def on_start(self) -> None:
        if WHERE == "start":
            raise RuntimeError("no database")
        if WHERE == "config":
            raise ConfigError("the key has expired")

    async def on_stop(self) -> None:
        if WHERE == "stop":
            raise RuntimeError("could not save")


if __name__ == "__main__":
    run_plugin(Fails)
