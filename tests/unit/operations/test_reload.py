"""Another configuration comes into force, and only what has changed is touched."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.lab import Lab

from vconnect import PluginRuntimeManager
from vconnect.errors import ConfigError, NotOpenError, PluginTimeoutError
from vconnect.operations.reload import Reloaded
from vconnect.packages.pack import pack
from vconnect.settings.source import SettingsSource

PLUGIN = """
class Made(Plugin):
    plugin_no = os.environ["VCONNECT_PLUGIN_NAME"]
    config_type = dict[str, int]
    @on("facts")
    def on_facts(self, ctx):
        secret = os.environ.get("VCONNECT_SECRET_KEY_FILE")
        ctx.reply({
            "pid": os.getpid(), "config": self.config, "color": os.environ.get("COLOR"),
            "secret": open(secret).read() if secret else None,
        })
    @on("slow")
    async def on_slow(self, ctx):
        await asyncio.sleep(0.3)
    def on_config_update(self, config):
        if config.get("n") == 13:
            raise ValueError("unlucky")
run_plugin(Made)
"""
CODE = "import asyncio\nfrom vconnect import Plugin, on, run_plugin\n" + PLUGIN


class Host:
    """A running host, and its configuration file."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.file = lab.directory / "vconnect.toml"
        self.runtime: PluginRuntimeManager

    def write(self, text: str, plugins: str = "") -> None:
        places = f'plugin_dir = "{self.lab.plugins}"\nsocket_path = "{self.lab.socket}"\n'
        self.file.write_text(f"[plugins]\n{places}{plugins}\n{text}\n")

    async def reload(self, text: str, plugins: str = "", **options: Any) -> Reloaded:
        self.write(text, plugins)
        return await self.runtime.reload(**options)

    async def facts(self, name: str = "one") -> Any:
        return await self.runtime.request(name, "facts", {})

    async def pids(self) -> list[int]:
        return [(await self.facts(name))["pid"] for name in ("one", "two")]


@pytest.fixture
async def host(lab: Lab) -> AsyncIterator[Host]:
    made = Host(lab)
    for name in ("one", "two"):
        lab.plugin(name, CODE, capabilities=["facts"])
    made.write("")
    source = SettingsSource(file=made.file, overrides={"max_queued": 77})
    async with PluginRuntimeManager(source.load(), source=source) as made.runtime:
        await made.runtime.start_all()
        yield made


async def test_nothing_has_changed(host: Host) -> None:
    before = await host.pids()
    assert (await host.runtime.reload()).is_empty
    assert await host.pids() == before


async def test_a_changed_table_restarts_only_its_plugin(host: Host) -> None:
    one, two = await host.pids()
    done = await host.reload("[plugins.options.two]\nwindow = 3")
    assert (list(done.plugins), done.restarts, done.is_complete) == (["two"], ["two"], True)
    after = await host.pids()
    assert after[0] == one
    assert after[1] != two
    assert (await host.runtime.reload()).is_empty


async def test_a_dry_run_does_nothing(host: Host) -> None:
    before = await host.pids()
    done = await host.reload("[plugins.options.two]\nwindow = 3", dry_run=True)
    assert done.restarts == ["two"]
    assert await host.pids() == before
    assert not (await host.runtime.reload(dry_run=True)).is_empty


async def test_live_keys_apply_to_the_next_call(host: Host) -> None:
    before = await host.pids()
    for name in ("one", "two"):
        await host.runtime.request(name, "slow", {})
    await host.reload("[plugins.options.two]\ntimeout = 4.0", "event_timeout = 0.1")
    assert host.runtime.settings.event_timeout == 0.1
    for name in ("one", "two"):
        with pytest.raises(PluginTimeoutError):
            await host.runtime.request(name, "slow", {})
    await host.reload("[events.slow]\ntimeout = 3.0\n[plugins.options.two]\ntimeout = 0.1")
    await host.runtime.request("one", "slow", {})
    with pytest.raises(PluginTimeoutError):
        await host.runtime.request("two", "slow", {})
    await host.reload('[events.slow]\non_failure = "default"\ndefault = { data = 5 }')
    await host.runtime.request("two", "slow", {})
    assert await host.pids() == before


async def test_what_all_plugins_inherit_replaces_them_all(host: Host) -> None:
    before = await host.pids()
    done = await host.reload("", 'env = { COLOR = "red" }')
    assert done.restarts == ["one", "two"]
    assert (await host.facts())["color"] == "red"
    assert not set(before) & set(await host.pids())


async def test_a_plugins_own_value_is_not_touched_by_the_hosts(host: Host) -> None:
    await host.reload("[plugins.options.one]\nwindow = 9")
    one, _ = await host.pids()
    done = await host.reload("[plugins.options.one]\nwindow = 9", "window = 5")
    assert done.restarts == ["two"]
    assert (await host.pids())[0] == one


async def test_a_configuration_is_asked_for_and_a_refusal_keeps_the_old_one(host: Host) -> None:
    before = await host.pids()
    await host.reload("[plugins.config.one]\nn = 1\n[plugins.config.two]\nn = 1")
    assert (await host.facts())["config"] == {"n": 1}
    text = "[plugins.config.one]\nn = 13\n[plugins.config.two]\nn = 2"
    planned = await host.reload(text.replace("13", "'x'"), dry_run=True)
    assert list(planned.failed) == ["one"]
    assert "expected `int`" in planned.failed["one"]
    assert (await host.facts("two"))["config"] == {"n": 1}
    done = await host.reload(text)
    assert list(done.failed) == ["one"]
    assert "unlucky" in done.failed["one"]
    assert not done.is_complete
    assert (await host.facts("one"))["config"] == {"n": 1}
    assert (await host.facts("two"))["config"] == {"n": 2}
    again = await host.runtime.reload()
    assert (list(again.plugins), list(again.failed)) == (["one"], ["one"])
    await host.runtime.restart_plugin("one")
    assert (await host.facts("one"))["config"] == {"n": 1}
    assert (await host.pids())[1] == before[1]


async def test_a_process_that_does_not_get_ready_keeps_the_old_options(host: Host) -> None:
    before = await host.pids()
    missing = host.lab.directory / "none"
    text = f'[plugins.options.one.secrets]\nKEY = "{missing}"'
    done = await host.reload(text)
    assert list(done.failed) == ["one"]
    assert await host.pids() == before
    missing.write_text("s3cret")
    missing.chmod(0o600)
    assert (await host.runtime.reload()).is_complete
    assert (await host.facts())["secret"] == "s3cret"


async def test_another_secret_in_the_same_file_replaces_the_process(host: Host) -> None:
    secret = host.lab.directory / "key"
    secret.write_text("old")
    secret.chmod(0o600)
    text = f'[plugins.options.one.secrets]\nKEY = "{secret}"'
    await host.reload(text)
    before = await host.pids()
    assert (await host.runtime.reload()).is_empty
    secret.unlink()
    for dry_run in (True, False):
        gone = await host.runtime.reload(dry_run=dry_run)
        assert list(gone.failed) == ["one"]
        assert f"its secret {secret}: No such file" in gone.failed["one"]
    assert await host.pids() == before
    secret.write_text("new")
    secret.chmod(0o600)
    done = await host.runtime.reload()
    assert done.restarts == ["one"]
    assert host.runtime.summary("one").reason == ""
    assert (await host.facts())["secret"] == "new"
    assert (await host.pids())[1] == before[1]


async def test_what_only_another_host_can_have_is_named_and_stays(host: Host) -> None:
    done = await host.reload("", 'cgroup = "off"\nmax_total_queued_bytes = 5')
    assert set(done.needs_restart) == {"cgroup", "max_total_queued_bytes"}
    assert host.runtime.settings.cgroup == "auto"
    assert set((await host.runtime.reload()).needs_restart) == set(done.needs_restart)


async def test_a_change_without_effect_is_told(host: Host) -> None:
    done = await host.reload("", "max_queued = 5")
    assert done.notes == ["max_queued: is set by --max-queued; the file's change has no effect"]
    assert host.runtime.settings.max_queued == 77


@pytest.mark.parametrize(
    ("text", "plugins"),
    [
        ("[plugins", ""),
        ("", 'window = "x"'),
        ("[plugins.options.none]\nrequired = true", ""),
        ("[plugins.config.one]\n[plugins.config.'wk.plugin.one']", ""),
    ],
)
async def test_a_mistake_anywhere_changes_nothing(host: Host, text: str, plugins: str) -> None:
    before = host.runtime.settings
    with pytest.raises(ConfigError):
        await host.reload(text, f"{plugins}\nevent_timeout = 1.0")
    assert host.runtime.settings is before


async def test_what_was_set_stays_until_the_file_has_another_value(host: Host) -> None:
    await host.runtime.configuration.set("one", {"n": 5, "m": 6}, by="ann")
    done = await host.reload("[plugins.config.one]\nn = 2\nx = 1")
    assert (await host.facts())["config"] == {"n": 2, "m": 6, "x": 1}
    (note,) = done.notes
    assert note.startswith("one: n was set by ann while the host runs")


async def test_plugins_from_source_come_move_and_go(host: Host, tmp_path: Path) -> None:
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "plugin.py").write_text(CODE.replace('"pid"', f'"place": "{name}", "pid"'))
        (directory / "plugin.py").write_text("import os\n" + (directory / "plugin.py").read_text())

    async def place(name: str) -> Any:
        return (await host.facts(name)).get("place")

    await host.reload("", f'dev_plugins = ["two:{tmp_path}/first", "three:{tmp_path}/first"]')
    assert [await place(name) for name in ("one", "two", "three")] == [None, "first", "first"]
    await host.reload("", f'dev_plugins = ["two:{tmp_path}/second", "three:{tmp_path}/first"]')
    assert [await place(name) for name in ("two", "three")] == ["second", "first"]
    await host.reload("")
    assert await place("two") is None
    assert {one.name for one in host.runtime.runtime_summaries()} == {"one", "two"}


async def test_a_plugin_from_source_gets_another_name(host: Host, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text("import os\n" + CODE)
    (tmp_path / "plugin.json").write_text('{"name": "x", "plugin_no": "wk.plugin.other"}')
    await host.reload("", f'dev_plugins = ["aa:{tmp_path}"]')
    done = await host.reload("", f'dev_plugins = ["ab:{tmp_path}"]')
    assert done.is_complete
    assert (await host.facts("ab"))["pid"]
    assert {one.name for one in host.runtime.runtime_summaries()} == {"ab", "one", "two"}


async def test_a_plugin_from_source_that_did_not_start_is_tried_again(
    host: Host, tmp_path: Path
) -> None:
    new = f'dev_plugins = ["three:{tmp_path}"]'
    planned = await host.reload("", new, dry_run=True)
    assert "contains nothing that can be started" in planned.failed["three"]
    for _ in range(2):
        assert list((await host.reload("", new)).failed) == ["three"]
    (tmp_path / "plugin.py").write_text("import os\n" + CODE)
    assert (await host.runtime.reload()).is_complete
    assert (await host.facts("three"))["pid"]
    assert (await host.runtime.reload()).is_empty


async def test_values_are_compared_with_those_of_the_manifest(host: Host, lab: Lab) -> None:
    lab.plugin("four", CODE, capabilities=["facts"], config={"n": 1, "m": 2})
    await host.runtime.packages.rescan()
    done = await host.reload("[plugins.config.four]\nn = 9\nm = 2")
    (row,) = done.plugins["four"]
    assert (row.key, row.before, row.after) == ("config.n", 1, 9)


async def test_a_new_package_is_installed_and_one_that_is_gone_is_told(host: Host) -> None:
    source = host.lab.source("three", CODE, below="source", version="1", capabilities=["facts"])
    package = pack(source, host.lab.directory / "three.vp").path
    done = await host.reload("", f'install = ["{package}"]')
    assert [(one.name, one.result) for one in done.changes] == [("three", "installed")]
    assert (await host.facts("three"))["pid"]
    assert (await host.runtime.reload()).is_empty
    gone = await host.reload("")
    assert "uninstall" in gone.notes[0]
    assert (await host.facts("three"))["pid"]


async def test_an_entry_that_is_no_source_changes_nothing(host: Host) -> None:
    before = host.runtime.settings
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=r"plugins\.install: x@\^\^2"):
            await host.reload("", 'install = ["x@^^2"]\nevent_timeout = 1.0', dry_run=dry_run)
    assert host.runtime.settings is before


async def test_what_comes_and_goes_is_named_before(host: Host, tmp_path: Path) -> None:
    (tmp_path / "plugin.py").write_text("import os\n" + CODE)
    source = host.lab.source("four", CODE, below="source", version="1", capabilities=["facts"])
    package = pack(source, host.lab.directory / "four.vp").path
    text = f'dev_plugins = ["three:{tmp_path}"]\ninstall = ["{package}"]'
    planned = await host.reload("", text, dry_run=True)
    assert planned.notes == [
        f"dev_plugins: three comes, from {tmp_path}",
        f"install: {package}",
    ]
    await host.reload("", text)
    planned = await host.reload("", f'dev_plugins = ["five:{tmp_path}"]', dry_run=True)
    assert "dev_plugins: three goes" in planned.notes
    assert "five has a data directory of its own; that of three stays where it is" in str(
        planned.notes
    )


async def test_an_application_gives_its_own_settings(lab: Lab) -> None:
    lab.plugin("one", "serve()")
    async with lab.manager() as runtime:
        with pytest.raises(ConfigError, match="give reload"):
            await runtime.reload()
        other = msgspec.structs.replace(runtime.settings, event_timeout=1.5)
        done = await runtime.reload(other)
        assert [one.key for one in done.host] == ["event_timeout"]
        assert runtime.settings.event_timeout == 1.5
    with pytest.raises(NotOpenError):
        await runtime.reload(other)


async def test_two_wishes_at_once_come_one_after_the_other(host: Host) -> None:
    host.write("[plugins.options.two]\nwindow = 3")
    first, second = await asyncio.gather(host.runtime.reload(), host.runtime.reload())
    assert (first.restarts, second.is_empty) == (["two"], True)


async def test_a_correction_starts_a_plugin_that_was_refused(lab: Lab) -> None:
    host = Host(lab)
    schema = {"properties": {"n": {"enum": [1, 2]}}}
    lab.plugin("one", CODE, capabilities=["facts"], config_schema=schema)
    host.write("[plugins.config.one]\nn = 3")
    source = SettingsSource(file=host.file)
    async with PluginRuntimeManager(source.load(), source=source) as host.runtime:
        await host.runtime.start_all()
        assert host.runtime.summary("one").substate == "bad_config"
        assert (await host.reload("[plugins.config.one]\nn = 2")).is_complete
        assert (await host.facts())["config"] == {"n": 2}


@pytest.mark.parametrize("order", ["stop_plugin", "disable_plugin"])
async def test_what_an_operator_has_stopped_stays_so(
    host: Host, tmp_path: Path, order: str
) -> None:
    (tmp_path / "plugin.py").write_text("import os\n" + CODE)
    await host.reload("", f'dev_plugins = ["three:{tmp_path}"]')
    for name in ("three", "two"):
        await getattr(host.runtime, order)(name)
    other = tmp_path / "other"
    other.mkdir()
    (other / "plugin.py").write_text("import os\n" + CODE)
    await host.reload("", f'dev_plugins = ["three:{other}", "two:{other}"]')
    await host.reload("", f'dev_plugins = ["three:{other}"]')
    running = {one.name for one in host.runtime.runtime_summaries() if one.status == "Running"}
    assert running == {"one"}
