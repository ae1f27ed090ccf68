"""Configurations of running plugins are shown, changed, refused and saved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import Lab, until_status

from vconnect import PluginRuntimeManager
from vconnect.errors import (
    ConfigError,
    ConfigRefusedError,
    ConflictError,
    PluginStartError,
    UnknownPluginError,
)
from vconnect.settings.edit import FileEdit
from vconnect.settings.source import SettingsSource

NATIVE = """
from vconnect import Plugin, on, run_plugin

class Made(Plugin):
    plugin_no = "native"
    @on("config")
    def on_config(self, ctx):
        ctx.reply(self.config)
    def on_config_update(self, config):
        if config.get("n") == 13:
            raise ValueError("unlucky")
run_plugin(Made)
"""
CLASSIC = """
if os.path.exists("refuse"):
    sys.exit("not now")
connection = Connection()
connection.greet()
for event in connection.events():
    connection.send({"status": "ok", "data": [os.getpid(), connection.config]})
"""
SCHEMA = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "token": {"type": "string", "writeOnly": True},
        "db": {"type": "object", "properties": {"password": {"format": "password"}}},
    },
}


@pytest.fixture
def file(lab: Lab) -> Path:
    made = lab.directory / "vconnect.toml"
    made.write_text("# mine\n[plugins.config.native]\nn = 1 # one\n")
    return made


@pytest.fixture
async def runtime(lab: Lab, file: Path) -> AsyncIterator[PluginRuntimeManager]:
    lab.plugin("native", NATIVE, capabilities=["config"], config={"a": 5}, config_schema=SCHEMA)
    source = SettingsSource(
        file=file,
        overrides={"plugin_dir": str(lab.plugins), "socket_path": str(lab.socket)},
    )
    async with PluginRuntimeManager(source.load(), source=source) as runtime:
        await runtime.start_all()
        yield runtime


async def config_of(runtime: PluginRuntimeManager) -> Any:
    return await runtime.request("native", "config", {})


def origins(runtime: PluginRuntimeManager) -> dict[str, tuple[Any, str]]:
    return {
        one.key: (one.value, one.origin.partition(",")[0])
        for one in runtime.configuration.get("native")
    }


async def test_a_value_is_set_until_it_is_unset(runtime, file: Path, caplog) -> None:
    caplog.set_level("INFO")
    assert origins(runtime) == {"a": (5, "manifest"), "n": (1, "configuration")}
    change = await runtime.configuration.set("native", {"n": 2, "x.y": "z"}, by="ann")
    assert (change.how, [one.key for one in change.changes]) == (
        "asked",
        ["config.n", "config.x.y"],
    )
    assert await config_of(runtime) == {"a": 5, "n": 2, "x": {"y": "z"}}
    assert origins(runtime) == {
        "a": (5, "manifest"),
        "n": (2, "set by ann"),
        "x.y": ("z", "set by ann"),
    }
    await runtime.restart_plugin("native")
    assert (await config_of(runtime))["n"] == 2
    await runtime.configuration.set("native", unset=["n", "x"], by="ann")
    assert await config_of(runtime) == {"a": 5, "n": 1}
    with pytest.raises(ConfigError, match="was not set while this host runs"):
        await runtime.configuration.set("native", unset=["n"])
    assert "# one" in file.read_text()
    audited = [text for text in caplog.messages if text.startswith("audit: ")]
    assert audited[0] == "audit: config native (config.n, config.x.y) by ann: asked"


@pytest.mark.parametrize(
    ("values", "words"),
    [({"n": "text"}, "invalid configuration"), ({"n": 13}, "native has refused it: .*unlucky")],
)
@pytest.mark.parametrize("save", [False, True])
async def test_what_is_refused_changes_nothing(
    runtime, file: Path, values: Any, words: str, save: bool
) -> None:
    text = file.read_text()
    with pytest.raises(ConfigRefusedError, match=words):
        await runtime.configuration.set("native", values, save=save)
    assert await config_of(runtime) == {"a": 5, "n": 1}
    assert origins(runtime)["n"] == (1, "configuration")
    assert file.read_text() == text
    await runtime.restart_plugin("native")
    assert await config_of(runtime) == {"a": 5, "n": 1}


async def test_a_dry_run_checks_and_changes_nothing(runtime) -> None:
    change = await runtime.configuration.set("native", {"n": 2}, dry_run=True)
    assert (change.how, len(change.changes)) == ("planned", 1)
    with pytest.raises(ConfigRefusedError):
        await runtime.configuration.set("native", {"n": "x"}, dry_run=True)
    assert await config_of(runtime) == {"a": 5, "n": 1}


async def test_a_value_is_saved_and_wins_over_what_was_set(runtime, file: Path) -> None:
    await runtime.configuration.set("native", {"n": 3, "m": 1}, by="ann")
    change = await runtime.configuration.set("native", {"n": 2}, save=True)
    assert change.saved == str(file)
    assert file.read_text() == "# mine\n[plugins.config.native]\nn = 2 # one\n"
    assert origins(runtime)["n"] == (2, "configuration")
    assert origins(runtime)["m"] == (1, "set by ann")
    assert (await runtime.reload()).is_empty
    await runtime.configuration.set("native", unset=["n", "m"], save=True)
    assert await config_of(runtime) == {"a": 5}
    assert file.read_text() == "# mine\n[plugins.config.native]\n"


async def test_a_file_that_cannot_be_written_takes_the_change_back(
    runtime, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: FileEdit) -> None:
        raise ConflictError("was changed meanwhile")

    monkeypatch.setattr(FileEdit, "write", fail)
    with pytest.raises(ConflictError):
        await runtime.configuration.set("native", {"n": 2}, save=True)
    assert await config_of(runtime) == {"a": 5, "n": 1}
    assert origins(runtime)["n"] == (1, "configuration")


async def test_secrets_are_not_shown(runtime) -> None:
    values = {"token": "x", "db": {"password": "y", "host": "z"}}
    change = await runtime.configuration.set("native", values)
    assert {one.key: one.after for one in change.changes} == {
        "config.token": "***",
        "config.db.password": "***",
        "config.db.host": "z",
    }
    shown = {key: value for key, (value, _) in origins(runtime).items()}
    assert (shown["token"], shown["db.password"], shown["db.host"]) == ("***", "***", "z")


async def test_a_whole_configuration_is_replaced_and_set_in(runtime) -> None:
    await runtime.update_config("native", {"z": {"y": 1}})
    assert await config_of(runtime) == {"a": 5, "z": {"y": 1}}
    await runtime.configuration.set("native", {"z.x": 2})
    assert await config_of(runtime) == {"a": 5, "z": {"y": 1, "x": 2}}
    await runtime.configuration.set("native", {"z.y": 3}, save=True)
    assert await config_of(runtime) == {"a": 5, "z": {"y": 3, "x": 2}}


async def test_a_classic_plugin_gets_another_process(lab: Lab) -> None:
    lab.plugin("classic", CLASSIC)
    async with lab.manager(handshake_timeout=2.0) as runtime:
        await runtime.start_all()
        pid, config = await runtime.request("classic", "config", {})
        assert config == {}
        change = await runtime.configuration.set("classic", {"n": 2})
        assert change.how == "restarted"
        other, config = await runtime.request("classic", "config", {})
        assert (other != pid, config) == (True, {"n": 2})
        await runtime.stop_plugin("classic")
        assert (await runtime.configuration.set("classic", {"n": 3})).how == "kept"
        await runtime.start_plugin("classic")
        assert (await runtime.request("classic", "config", {}))[1] == {"n": 3}
        assert (await runtime.configuration.set("classic", {"n": 3})).how == "unchanged"


async def test_a_process_that_does_not_get_ready_takes_the_change_back(lab: Lab) -> None:
    lab.plugin("classic", CLASSIC)
    async with lab.manager(handshake_timeout=2.0) as runtime:
        await runtime.start_all()
        pid, _ = await runtime.request("classic", "config", {})
        (lab.plugins / "classic" / "refuse").touch()
        with pytest.raises(PluginStartError, match="not now"):
            await runtime.configuration.set("classic", {"n": 13})
        assert await runtime.request("classic", "config", {}) == [pid, {}]
        assert runtime.configuration.get("classic") == []


async def test_mistakes_are_told(runtime, lab: Lab) -> None:
    with pytest.raises(UnknownPluginError):
        runtime.configuration.get("none")
    with pytest.raises(ConfigError, match="is no key"):
        await runtime.configuration.set("native", {"a b": 1})
    with pytest.raises(ConfigError, match="nan is not a JSON number"):
        await runtime.configuration.set("native", {"a": float("nan")})
    with pytest.raises(ConfigError, match="expected a dictionary"):
        await runtime.update_config("native", [])


async def test_without_a_file_nothing_can_be_saved(lab: Lab) -> None:
    lab.plugin("one", "serve()")
    async with lab.manager() as runtime:
        await runtime.start_all()
        await until_status(runtime, "one", "Running")
        with pytest.raises(ConfigError, match="has no configuration file"):
            await runtime.configuration.set("one", {"a": 1}, save=True)


async def test_two_changes_at_once_come_one_after_the_other(runtime) -> None:
    await asyncio.gather(
        *(runtime.configuration.set("native", {f"k{number}": number}) for number in range(8))
    )
    assert await config_of(runtime) == {"a": 5, "n": 1} | {f"k{n}": n for n in range(8)}
