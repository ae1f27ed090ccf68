"""What is started, in what surroundings, and what a start that cannot be comes to."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import resource
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.paper import launcher, plugin, unopened

from vconnect.durable import try_lock
from vconnect.packages import manifest as manifest_module
from vconnect.plugins.registry import Registry
from vconnect.plugins.restarts import Ended
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.process import PluginProcess, start_error
from vconnect.settings.limits import ResourceLimits, TreeLimits
from vconnect.settings.model import PluginOptions
from vconnect.store.layout import InstalledVersion, Receipt
from vconnect.store.store import PluginStore
from vconnect.supervision import launcher as module
from vconnect.supervision.instance import Instance
from vconnect.supervision.verdict import Verdict

TELLS = """#!/bin/sh
printf '%s\\n' "$@" > args.new && env > env && pwd >> env && mv args.new args
"""


class Place:
    """A ``plugin_dir`` with one plugin in it, and a registry that knows it.

    Attributes:
        wake: What a process's end sets.
        adopt: Shows the plugin as the version that was begun last.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.registry = Registry()
        self.wake = asyncio.Event()
        self.adopt: Callable[[], None] = lambda: None

    def add(
        self, name: str = "x", code: str | None = TELLS, *, dev: bool = False, **options: Any
    ) -> PluginRuntime:
        path = self.directory / name
        path.mkdir()
        if code is not None:
            (path / name).write_text(code)
            (path / name).chmod(0o755)
        runtime = plugin(name, path, dev=dev, **options)
        runtime.begin_generation()
        self.registry.add(runtime)
        return runtime

    def manifest(self, runtime: PluginRuntime, **said: Any) -> None:
        assert runtime.path is not None
        (runtime.path / "plugin.json").write_text(json.dumps({"name": runtime.name, **said}))

    def begin(self, runtime: PluginRuntime, **options: Any) -> Instance | Verdict:
        made = launcher(self.registry, self.directory, **options)
        begun = made.begin(runtime, self.wake)
        if isinstance(begun, Instance):
            self.adopt = partial(made.adopt, runtime, begun)
        return begun

    def fails(self, runtime: PluginRuntime, **options: Any) -> Verdict:
        verdict = self.begin(runtime, **options)
        assert isinstance(verdict, Verdict)
        assert verdict.status is PluginStatus.ERROR
        return verdict

    async def told(self, runtime: PluginRuntime, **options: Any) -> tuple[list[str], str]:
        """Start it, wait for its end, and return its arguments and its environment."""
        instance = self.begin(runtime, **options)
        assert isinstance(instance, Instance)
        async with asyncio.timeout(10):
            await self.wake.wait()
            assert str(instance.process.exited.result()) == "exited: code 0"
            await instance.process.end(1.0, lambda _: None)
        await asyncio.to_thread(instance.process.remove_leftovers)
        assert runtime.path is not None
        return (runtime.path / "args").read_text().split(), (runtime.path / "env").read_text()


@pytest.fixture
async def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def refusing(error: OSError) -> Callable[..., Any]:
    def refuse(*_: Any, **__: Any) -> Any:
        raise error

    return refuse


# --- what cannot be started ------------------------------------------------------------------


async def test_a_name_that_another_plugin_has_by_now(place):
    gone = place.add()
    place.registry.add(plugin("x", gone.path))
    verdict = place.fails(gone)
    assert verdict.substate is Substate.SPAWN_FAILED
    assert "installed" in verdict.reason
    assert verdict.ended is None  # it is nobody's any more, so it is not tried again


@pytest.mark.parametrize("text", ["{", "[]", '{"name": 1}', '{"name": "x", "entry": "/bin/sh"}'])
async def test_a_manifest_that_is_wrong_now(place, text):
    runtime = place.add()
    (runtime.path / "plugin.json").write_text(text)
    verdict = place.fails(runtime)
    assert (verdict.substate, verdict.ended) == (Substate.BAD_MANIFEST, Ended.PERMANENT)
    assert str(runtime.path / "plugin.json") in verdict.reason


async def test_a_manifest_that_is_a_link_to_nowhere_is_wrong_and_not_missing(place):
    runtime = place.add()
    (runtime.path / "plugin.json").symlink_to("nowhere")
    assert place.fails(runtime).substate is Substate.BAD_MANIFEST


async def test_no_executable(place):
    verdict = place.fails(place.add(code=None))
    assert (verdict.substate, verdict.ended) == (Substate.SPAWN_FAILED, Ended.PERMANENT)
    assert not verdict.reason.startswith("x: ")  # whose it is, is said by whoever shows it


async def test_one_that_is_no_program(place):
    verdict = place.fails(place.add(code="neither"))
    assert (verdict.substate, verdict.ended) == (Substate.SPAWN_FAILED, Ended.PERMANENT)
    assert "neither a program for this machine nor a script" in verdict.reason


@pytest.mark.parametrize(
    ("state", "how"),
    [
        ("unknown", Ended.TRANSIENT),
        ("known", Ended.TRANSIENT),
        ("process", Ended.TRANSIENT),
        ("ready", None),
    ],
)
async def test_what_it_requires_must_be_there_first(place, state, how):
    runtime, other = place.add(), plugin("other")
    place.manifest(runtime, requires=["other"])
    if state != "unknown":
        place.registry.add(other)
    if state == "process":
        other.process = object()  # type: ignore[assignment]
    if state == "ready":
        other.session = unopened("other")
        await place.told(runtime)
        return
    verdict = place.fails(runtime)
    assert (verdict.substate, verdict.ended) == (Substate.SPAWN_FAILED, how)
    assert verdict.reason.startswith("requires other, which is ")


@pytest.mark.parametrize("said", [{"requires": ["other"]}, {"before": ["other"]}])
async def test_a_cycle_is_a_mistake_in_the_manifest(place, said):
    runtime = place.add()
    place.manifest(runtime, **said)
    turned: dict[str, Any] = dict.fromkeys(said, ("x",))
    other = plugin("other", **turned)
    other.session = unopened("other")
    place.registry.add(other)
    verdict = place.fails(runtime)
    assert (verdict.substate, verdict.ended) == (Substate.BAD_MANIFEST, Ended.PERMANENT)
    assert "x → other → x" in verdict.reason


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tree_limits": TreeLimits(processes=5)}, "plugins.options.x.tree_limits.processes: "),
        ({"secrets": {"KEY": "/nowhere"}}, "/nowhere"),
    ],
)
async def test_what_the_operator_wants_of_it_and_cannot_be(place, options, words):
    runtime = place.add(options={"x": PluginOptions(**options)})
    verdict = place.fails(runtime)
    assert (verdict.substate, verdict.ended) == (Substate.SPAWN_FAILED, Ended.PERMANENT)
    assert words in verdict.reason


@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
async def test_a_limit_above_the_hosts_own_is_named(place, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (10, 10))
    runtime = place.add(options={"x": PluginOptions(limits=ResourceLimits(nofile=11))})
    assert place.fails(runtime).reason.startswith("plugins.options.x.limits.nofile: 11 is above")


@pytest.mark.parametrize(
    ("number", "how"), [(errno.ENOMEM, Ended.TRANSIENT), (errno.EACCES, Ended.PERMANENT)]
)
async def test_a_shortage_passes_and_a_refusal_does_not(place, monkeypatch, number, how):
    error = OSError(number, os.strerror(number), "/p")
    monkeypatch.setattr(PluginProcess, "spawn", refused_spawn(error))
    assert place.fails(place.add()).ended is how


def refused_spawn(error: OSError) -> Any:
    def spawn(spec: Any, log: Any, leftovers: Any) -> Any:
        raise start_error(spec.plugin, "cannot start", error)

    return spawn


async def test_a_start_that_failed_leaves_no_directory(place):
    made = launcher(place.registry, place.directory)
    assert isinstance(made.begin(place.add(code="neither"), place.wake), Verdict)
    await made.close()
    assert list(place.directory.glob(".vconnect/hosts/*/run/*")) == []


@pytest.mark.parametrize("needs_it", [True, False])
async def test_a_full_disk_stops_only_those_that_need_a_directory(place, monkeypatch, needs_it):
    secret = place.directory / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    given = {"x": PluginOptions(secrets={"KEY": str(secret)})} if needs_it else {}
    runtime = place.add(options=given)
    full = OSError(errno.ENOSPC, "No space left on device", "/p/data")
    monkeypatch.setattr(module, "PrivateDirectory", refusing(full))
    if needs_it:
        words = "its private directories: /p/data: No space left on device"
        assert words in place.fails(runtime).reason
    else:
        await place.told(runtime)


# --- what is started -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "arguments"),
    [
        ({}, []),
        ({"debug": True}, ["--debug"]),
        ({"log_level": "warn"}, ["--log-level", "warn"]),
    ],
)
async def test_the_hosts_arguments(place, options, arguments):
    args, _ = await place.told(place.add(), **options)
    assert args == ["--socket", "/run/host.sock", *arguments]


async def test_the_environment_and_the_directory(place, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_HOST", "1")
    monkeypatch.setenv("WANTED", "2")
    runtime = place.add()
    _, text = await place.told(runtime, env={"GIVEN": "3"}, inherit_env=("WANTED",))
    lines = text.splitlines()
    assert {"WANTED=2", "GIVEN=3", "VCONNECT_PLUGIN_NAME=x"} <= set(lines)
    assert f"VCONNECT_HOST_PID={os.getpid()}" in lines
    assert "SECRET_OF_THE_HOST" not in text
    assert lines[-1] == str(runtime.path.resolve())


async def test_the_hosts_own_variables_cannot_be_overridden(place):
    _, text = await place.told(place.add(), env={"VCONNECT_PLUGIN_NAME": "y"})
    assert "VCONNECT_PLUGIN_NAME=x" in text.splitlines()


async def test_the_manifest_is_read_anew_at_each_start(place):
    runtime = place.add()
    place.manifest(runtime, plugin_no="other.name", priority=5)
    await place.told(runtime)
    assert runtime.manifest is None  # another version may be serving
    place.adopt()
    assert runtime.position.priority == 5
    assert place.registry.get("other.name") is runtime
    (runtime.path / "plugin.json").unlink()
    place.wake.clear()
    await place.told(runtime)
    place.adopt()
    assert runtime.manifest is None
    assert place.registry.find("other.name") is None


@pytest.mark.parametrize(("dev", "timeout"), [(False, 7.0), (True, 70.0)])
async def test_one_from_source_has_longer_for_its_handshake(place, dev, timeout):
    runtime = place.add(dev=dev)
    place.manifest(runtime, dev={"command": ["/bin/sh", "-c", "true"]})
    made = place.begin(runtime, handshake_timeout=7.0, dev_handshake_timeout=70.0)
    assert isinstance(made, Instance)
    await place.wake.wait()
    await made.process.end(1.0, lambda _: None)
    await asyncio.to_thread(made.process.remove_leftovers)
    assert (made.patience, made.generation) == (timeout, 1)


async def test_no_new_privileges_where_that_is_wanted(place, monkeypatch):
    found = []

    def look(spec: Any, log: Any, leftovers: Any) -> Any:
        found.append(spec.no_new_privs)
        raise start_error(spec.plugin, "only looked", OSError(errno.EPERM, ""))

    monkeypatch.setattr(PluginProcess, "spawn", look)
    for name, mode in (("a", "off"), ("b", "nnp")):
        place.fails(place.add(name, sandbox=mode))
    assert found == [False, True] if sys.platform == "linux" else [False]


# --- versions --------------------------------------------------------------------------------


def store_of(place: Place) -> PluginStore:
    return PluginStore(place.directory)


def put(place: Place, version: str) -> InstalledVersion:
    """Install a version of ``x`` that tells what it was given."""
    store = store_of(place)
    with store.staging() as staging:
        package = staging.path / "package"
        package.mkdir()
        (package / "x").write_text(TELLS)
        (package / "x").chmod(0o755)
        (package / "plugin.json").write_text(json.dumps({"name": "x", "version": version}))
        digest = hashlib.sha256(version.encode()).hexdigest()
        store.commit(package, Receipt(name="x", version=version, sha256=digest))
    found = store.home("x").find(digest)
    assert found is not None
    return found


def installed(place: Place) -> PluginRuntime:
    runtime = plugin("x", place.directory / "x")
    runtime.begin_generation()
    place.registry.add(runtime)
    return runtime


async def version_told(place: Place, runtime: PluginRuntime, **options: Any) -> dict[str, str]:
    """Start it, and return its environment; ``""`` is its working directory."""
    place.wake.clear()
    made = launcher(place.registry, place.directory)
    instance = made.begin(runtime, place.wake, **options)
    assert isinstance(instance, Instance), instance.reason
    async with asyncio.timeout(10):
        await place.wake.wait()
        await instance.process.end(1.0, lambda _: None)
    await asyncio.to_thread(instance.process.remove_leftovers)
    place.adopt = partial(made.adopt, runtime, instance)
    data = instance.process.directory
    lines = (data / "env").read_text().splitlines()
    return {"": lines[-1], **dict(line.split("=", 1) for line in lines[:-1])}


async def test_a_version_works_in_the_data_directory(place):
    version = put(place, "1")
    told = await version_told(place, installed(place))
    assert told["VCONNECT_PACKAGE_DIR"] == str(version.package)
    assert told[""] == told["VCONNECT_DATA_DIR"]
    assert Path(told[""]).parts[-2:] == ("data", "x")


async def test_a_source_directory_is_its_own_package(place):
    runtime = place.add(dev=True)
    place.manifest(runtime, dev={"command": ["./x"]})
    _, text = await place.told(runtime)
    assert f"VCONNECT_PACKAGE_DIR={runtime.path}" in text.splitlines()


async def test_the_next_version_is_tried_and_any_can_be_asked_for(place):
    first, second = put(place, "1"), put(place, "2")
    runtime = installed(place)
    launcher(place.registry, place.directory).look(runtime)
    assert (runtime.current_version, runtime.next_version) == (first, second)
    for asked, used in ((None, first), (second, second), (first, first)):
        told = await version_told(place, runtime, trial=asked)
        assert told["VCONNECT_PACKAGE_DIR"] == str(used.package)
        place.adopt()
        assert (runtime.path, runtime.manifest.version) == (used.package, used.version)


async def test_what_another_host_has_made_current_is_started(place):
    put(place, "1")
    second = put(place, "2")
    runtime = installed(place)
    home = store_of(place).home("x")
    home.switch(second)
    home.set_next(None)
    told = await version_told(place, runtime)
    launcher(place.registry, place.directory).look(runtime)
    assert told["VCONNECT_PACKAGE_DIR"] == str(second.package)
    assert (runtime.path, runtime.next_version) == (second.package, None)


async def test_a_version_is_locked_until_its_process_is_cleared_up(place):
    version = put(place, "1")
    runtime = installed(place)
    instance = place.begin(runtime)
    assert isinstance(instance, Instance)
    lock = os.open(version.directory / ".in-use", os.O_RDONLY)
    try:
        assert not try_lock(lock)
        await place.wake.wait()
        await instance.process.end(1.0, lambda _: None)
        await asyncio.to_thread(instance.process.remove_leftovers)
        assert try_lock(lock)
        # Somebody deletes it.
        verdict = place.fails(runtime)
        assert f"cannot use {version.directory}: this version is being removed" in verdict.reason
    finally:
        os.close(lock)


async def test_a_version_that_cannot_be_used(place):
    version = put(place, "1")
    (version.directory / "install.json").unlink()
    verdict = place.fails(installed(place))
    assert verdict.substate is Substate.SPAWN_FAILED
    assert "install.json: cannot be read" in verdict.reason


async def test_without_a_data_directory_no_version_is_started(place, monkeypatch):
    put(place, "1")
    full = OSError(errno.ENOSPC, "No space left on device", "/p/data")
    with monkeypatch.context() as patched:
        patched.setattr(module, "PrivateDirectory", refusing(full))
        runtime = installed(place)
        assert "does not exist and cannot be created; set state_dir" in place.fails(runtime).reason
    await version_told(place, runtime)
    # It is there now, so a full disk keeps nobody from starting.
    monkeypatch.setattr(module, "PrivateDirectory", refusing(full))
    told = await version_told(place, runtime)
    assert told["VCONNECT_DATA_DIR"] == told[""]


async def test_a_directory_whose_name_cannot_be_is_not_started(place):
    verdict = place.fails(place.add("two words"))
    assert verdict.substate is Substate.BAD_MANIFEST
    assert "is not a valid plugin name" in verdict.reason


async def test_files_are_carried_before_the_first_start_in_the_data_directory(place):
    plain = place.add()
    (plain.path / "rows").write_text("rows")
    made = launcher(place.registry, place.directory)
    assert made.is_prepared(plain)
    put(place, "1")
    assert not made.is_prepared(plain)
    await made.prepare(plain)
    assert made.is_prepared(plain)
    told = await version_told(place, plain)
    assert (Path(told[""]) / "rows").read_text() == "rows"


async def test_files_that_cannot_be_carried_are_a_failed_start(place, monkeypatch):
    plain = place.add()
    (plain.path / "rows").write_text("rows")
    put(place, "1")
    made = launcher(place.registry, place.directory)
    with monkeypatch.context() as patched:
        full = OSError(errno.ENOSPC, "No space left on device")
        patched.setattr("vconnect.store.plain.carry._copy_data", refusing(full))
        await made.prepare(plain)
    assert made.is_prepared(plain)
    verdict = made.begin(plain, place.wake)
    assert isinstance(verdict, Verdict)
    assert "cannot carry its files to its data directory: No space left" in verdict.reason
    assert not made.is_prepared(plain)  # the next start tries it again


def test_a_process_that_works_in_its_package_is_not_overlapped(place):
    plain = place.add()
    process = SimpleNamespace(directory=plain.path)
    plain.started(process)
    assert not plain.is_exclusive
    version = put(place, "1")
    plain.located(version.package, version)
    assert plain.is_exclusive
    plain.started(SimpleNamespace(directory=Path("/state/data/x")))
    assert not plain.is_exclusive


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
async def test_a_manifest_that_cannot_be_read_for_want_of_a_descriptor_is_not_a_bad_one(
    place, monkeypatch, number
):
    runtime = place.add()
    place.manifest(runtime)

    def fail(*_: Any) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(manifest_module, "read_regular", fail)
    verdict = place.fails(runtime)
    assert (verdict.substate, verdict.ended) == (Substate.SPAWN_FAILED, Ended.TRANSIENT)
    assert "plugin.json: cannot be read" in verdict.reason
