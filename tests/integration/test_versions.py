"""Versions side by side, and data that outlives them, with real plugins."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.disks import remount, small_disk
from tests.support.lab import Lab, until, until_status
from tests.support.serving import Serve, wait_until

from vconnect import PluginRuntimeManager
from vconnect.durable import try_lock
from vconnect.errors import PluginError
from vconnect.packages.pack import pack
from vconnect.store.home import PluginHome
from vconnect.store.installer import PluginInstaller

pytestmark = pytest.mark.both_loops

# Answers with what it finds where it works, and keeps what it is given in a relative path.
KEEPER = """
def answer(event):
    said = event["payload"]
    if isinstance(said, dict) and "keep" in said:
        os.makedirs("data", exist_ok=True)
        with open("data/rows", "a") as rows:
            rows.write(said["keep"] + "\\\\n")
    if os.path.exists("data/rows"):
        with open("data/rows") as rows:
            kept = rows.read().split()
    else:
        kept = []
    package = os.environ["VCONNECT_PACKAGE_DIR"]
    with open(os.path.join(package, "words")) as words:
        text = words.read()
    names = ("VCONNECT_DATA_DIR", "VCONNECT_PACKAGE_DIR")
    paths = {name: os.environ.get(name) for name in names}
    found = {"cwd": os.getcwd(), "rows": kept, "words": text, "argv": sys.argv[0], **paths}
    return {"status": "ok", "data": found}
serve(answer, version=VERSION)
"""

BROKEN = "sys.exit(3)"


def make_package(lab: Lab, version: str, code: str = KEEPER, **manifest: Any) -> Path:
    """Pack a version of the plugin ``keeper``, whose file ``words`` says which one it is."""
    code = f"VERSION = {version!r}\n" + code.replace("\\\\n", "\\n")
    source = lab.source("keeper", code, below=f"source-{version}", version=version, **manifest)
    (source / "words").write_text(f"words of {version}")
    return pack(source, lab.directory / f"keeper-{version}.vp").path


async def ask(runtime: PluginRuntimeManager, payload: Any = None) -> dict[str, Any]:
    answer = await runtime.request("keeper", "e", payload or {})
    assert isinstance(answer, dict)
    return answer


def versions(lab: Lab) -> list[str]:
    found = (lab.plugins / "keeper" / "versions").iterdir()
    return sorted(path.name.rpartition("+")[0] for path in found)


async def test_it_works_in_its_data_directory_and_its_files_are_elsewhere(lab: Lab) -> None:
    package = make_package(lab, "1")
    async with lab.manager(install=(str(package),)) as runtime:
        await runtime.start_all()
        found = await ask(runtime)
        data = lab.state / "data" / "keeper"
        assert found["cwd"] == found["VCONNECT_DATA_DIR"] == str(data)
        (home,) = (lab.plugins / "keeper" / "versions").iterdir()
        assert found["VCONNECT_PACKAGE_DIR"] == str(home / "pkg")
        assert found["argv"] == str(home / "pkg" / "keeper")
        assert found["words"] == "words of 1"
        assert runtime.summary("keeper").path == str(home / "pkg")


async def test_nothing_is_written_into_a_package_not_even_by_root(lab: Lab) -> None:
    code = "import part\nserve()"
    source = lab.source("keeper", code, below="source", version="1")
    (source / "part.py").write_text("")
    package = pack(source, lab.directory / "keeper.vp").path
    async with lab.manager(install=(str(package),)) as runtime:
        await runtime.start_all()
        await runtime.request("keeper", "e", {})
        (found,) = (lab.plugins / "keeper").glob("versions/*/pkg")
        assert sorted(path.name for path in found.iterdir()) == [
            "keeper",
            "part.py",
            "plugin.json",
        ]


@pytest.mark.skipif(sys.platform != "linux", reason="mounts a disk")
async def test_plugins_of_a_read_only_directory_run_with_state_elsewhere(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    package = make_package(lab, "1")
    state = lab.directory / "state"
    with small_disk(lab.plugins, "1m"):
        async with lab.manager(install=(str(package),), state_dir=state):
            pass
        remount(lab.plugins, "ro")
        caplog.clear()
        async with lab.manager(install=(str(package),), state_dir=state) as runtime:
            await runtime.start_all()
            found = await ask(runtime, {"keep": "a"})
            assert (found["rows"], found["cwd"]) == (["a"], str(state / "data" / "keeper"))
        assert [record.getMessage() for record in caplog.records if record.levelno > 20] == []


async def test_an_unchanged_configuration_changes_nothing_and_loses_nothing(lab: Lab) -> None:
    package = make_package(lab, "1")
    seen = []
    for row in ("first", "second"):
        async with lab.manager(install=(str(package),)) as runtime:
            await runtime.start_all()
            await ask(runtime, {"keep": row})
            seen.append((await ask(runtime))["rows"])
        tree = {path: path.lstat().st_mtime_ns for path in (lab.plugins / "keeper").rglob("pkg/*")}
        seen.append(tree)
    assert seen[0] == ["first"]
    assert seen[2] == ["first", "second"]
    assert seen[1] == seen[3]


async def test_an_upgrade_leaves_the_running_version_its_files(lab: Lab) -> None:
    async with lab.manager(install=(str(make_package(lab, "1")),)) as runtime:
        await runtime.start_all()
        old = await ask(runtime, {"keep": "a"})
        await runtime.install_from_url(str(make_package(lab, "2")))
        assert await ask(runtime) == old
        await runtime.restart_plugin("keeper")
        new = await ask(runtime, {"keep": "b"})
        assert (new["words"], new["rows"]) == ("words of 2", ["a", "b"])
        assert new["cwd"] == old["cwd"]
        assert versions(lab) == ["1", "2"]


async def test_what_is_installed_already_is_not_installed_again(lab: Lab) -> None:
    package = make_package(lab, "1")
    async with lab.manager(install=(str(package),)) as runtime:
        await runtime.start_all()
        before = {path: path.lstat().st_ctime_ns for path in (lab.plugins / "keeper").rglob("*")}
        await runtime.install_from_url(str(package))
        after = {path: path.lstat().st_ctime_ns for path in (lab.plugins / "keeper").rglob("*")}
        assert before == after


async def test_another_process_installs_and_the_host_tries_it(lab: Lab) -> None:
    async with lab.manager(install=(str(make_package(lab, "1")),)) as runtime:
        await runtime.start_all()
        code = (
            "import asyncio, sys; from pathlib import Path; from vconnect import PluginInstaller\n"
            "asyncio.run(PluginInstaller(Path(sys.argv[1])).install_from_url(sys.argv[2]))"
        )
        package = make_package(lab, "2")
        await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", code, str(lab.plugins), str(package)],
            check=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert (await ask(runtime))["words"] == "words of 1"
        await runtime.restart_plugin("keeper")
        assert (await ask(runtime))["words"] == "words of 2"


# --- who uses which files --------------------------------------------------------------------


def collect(lab: Lab) -> None:
    """Delete what is not used any more, as another host with the same plugins would."""
    PluginHome(lab.plugins / "keeper").collect(1)


async def test_the_files_of_a_version_stay_until_its_last_process_has_ended(lab: Lab) -> None:
    async with lab.manager(install=(str(make_package(lab, "1")),)) as runtime:
        await runtime.start_all()
        await runtime.install_from_url(str(make_package(lab, "2")))
        home = runtime._catalog._installer.store.home("keeper")
        home.switch(home.next_version())  # as another host does, whose process was ready
        home.set_next(None)
        await asyncio.to_thread(collect, lab)
        assert versions(lab) == ["1", "2"]
        assert (await ask(runtime))["words"] == "words of 1"
        await runtime.restart_plugin("keeper")
        assert (await ask(runtime))["words"] == "words of 2"
        await until(lambda: collect(lab) or versions(lab) == ["2"])


@pytest.mark.slow
def test_the_lock_on_a_version_outlives_a_killed_host(lab: Lab) -> None:
    stubborn = KEEPER.replace(
        "serve(answer", "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nserve(answer"
    )
    package = make_package(lab, "1", stubborn + "\ntime.sleep(600)\n")
    with Serve(lab, "--no-guardian", "--install", str(package)) as host:
        host.wait_until("keeper", "Running")
        pid = host.status("keeper")["pid"]
        host.process.kill()
        host.process.wait(20)
        try:
            (in_use,) = (lab.plugins / "keeper").glob("versions/*/.in-use")
            descriptor = os.open(in_use, os.O_RDONLY)
            try:
                assert not try_lock(descriptor)
                os.kill(pid, signal.SIGKILL)
                wait_until(lambda: try_lock(descriptor))
            finally:
                os.close(descriptor)
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


async def test_two_hosts_share_the_code_and_not_the_data(lab: Lab) -> None:
    package = make_package(lab, "1")
    other = lab.socket.with_name("other.sock")
    async with lab.manager(install=(str(package),)) as first:
        await first.start_all()
        async with lab.manager(socket_path=other) as second:
            await second.start_all()
            one = await ask(first, {"keep": "first"})
            two = await ask(second, {"keep": "second"})
            assert one["VCONNECT_PACKAGE_DIR"] == two["VCONNECT_PACKAGE_DIR"]
            assert (one["rows"], two["rows"]) == (["first"], ["second"])


# --- from a plain directory ------------------------------------------------------------------


def plain(lab: Lab) -> Path:
    code = "VERSION = '0.9'\n" + KEEPER.replace("\\\\n", "\\n")
    home = lab.plugin("keeper", code, version="0.9")
    (home / "words").write_text("words of 0.9")
    return home


async def test_a_plain_directory_works_as_it_stands(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    home = plain(lab)
    async with lab.manager() as runtime:
        await runtime.start_all()
        found = await ask(runtime, {"keep": "a"})
        assert found["cwd"] == found["VCONNECT_PACKAGE_DIR"] == str(home)
        assert found["VCONNECT_DATA_DIR"] == str(lab.state / "data" / "keeper")
        await runtime.restart_plugin("keeper")
        assert (await ask(runtime))["rows"] == ["a"]
    assert caplog.text.count("plugin keeper works inside its package directory") == 1


async def test_what_was_written_there_is_carried_at_the_first_upgrade(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain(lab)
    async with lab.manager() as runtime:
        await runtime.start_all()
        await ask(runtime, {"keep": "before"})
        await runtime.install_from_url(str(make_package(lab, "1")))
        # It goes on in its old directory, and what it still writes counts.
        assert (await ask(runtime, {"keep": "after"}))["rows"] == ["before", "after"]
        await runtime.restart_plugin("keeper")
        found = await ask(runtime, {"keep": "new"})
        assert found["rows"] == ["before", "after", "new"]
        assert (found["words"], found["cwd"]) == (
            "words of 1",
            str(lab.state / "data" / "keeper"),
        )
        assert "copied what it wrote" in caplog.text
        assert "data/rows" in caplog.text
        assert versions(lab) == ["0.9", "1"]


async def test_the_old_version_runs_in_the_data_directory_too_if_the_new_one_fails(
    lab: Lab,
) -> None:
    plain(lab)
    async with lab.manager() as runtime:
        await runtime.start_all()
        await ask(runtime, {"keep": "before"})
        await runtime.install_from_url(str(make_package(lab, "1")))
        home = runtime._catalog._installer.store.home("keeper")
        home.set_next(None)  # as after its failure
        await runtime.restart_plugin("keeper")
        found = await ask(runtime)
        assert (found["words"], found["rows"]) == ("words of 0.9", ["before"])
        assert found["cwd"] == str(lab.state / "data" / "keeper")


async def test_a_disk_that_has_no_room_for_what_is_carried_keeps_it_from_starting(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(lab)
    async with lab.manager() as runtime:
        await runtime.start_all()
        await ask(runtime, {"keep": "before"})
        await runtime.stop_plugin("keeper")
        await runtime.install_from_url(str(make_package(lab, "1")))

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("vconnect.store.plain.carry._copy_data", full)
            with pytest.raises(Exception, match=r"cannot carry its files .* No space left"):
                await runtime.start_plugin("keeper")
        await runtime.start_plugin("keeper")
        await until_status(runtime, "keeper", "Running")
        assert (await ask(runtime))["rows"] == ["before"]


# --- under load ------------------------------------------------------------------------------

# Each event is written down in a file of its own directory, and answered with one of its package.
WRITER = """
import json
file = open("seen", "a", buffering=1)
def answer(event):
    file.write(json.dumps(event["payload"]) + chr(10))
    with open(os.path.join(os.environ["VCONNECT_PACKAGE_DIR"], "words")) as words:
        return {"status": "ok", "data": [event["payload"], words.read()]}
serve(answer, version=VERSION)
"""

PER_SECOND = 1000
SECONDS = 3


@pytest.mark.slow
@pytest.mark.parametrize("begins", ["installed", "plain"])
async def test_an_upgrade_under_load_loses_no_event_and_no_file(lab: Lab, begins: str) -> None:
    if begins == "plain":
        home = lab.plugin("keeper", "VERSION = '1'\n" + WRITER, version="1")
        (home / "words").write_text("words of 1")
    first, second = (make_package(lab, version, WRITER) for version in ("1", "2"))
    install = (str(first),) if begins == "installed" else ()
    async with lab.manager(install=install) as runtime:
        await runtime.start_all()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        tasks: list[asyncio.Task[Any]] = []

        async def upgrade() -> None:
            await asyncio.sleep(SECONDS / 3)
            await runtime.install_from_url(str(second))
            await asyncio.sleep(SECONDS / 3)
            if begins == "plain":  # it is stopped first, since its files move
                await pause.wait()
            await runtime.restart_plugin("keeper")
            resume.set()

        pause, resume = asyncio.Event(), asyncio.Event()
        upgrading = asyncio.create_task(upgrade())
        for number in range(PER_SECOND * SECONDS):
            if begins == "plain" and number == PER_SECOND * SECONDS * 5 // 6:
                await asyncio.wait(tasks)
                pause.set()
                await resume.wait()
                begin = loop.time() - number / PER_SECOND
            tasks.append(asyncio.create_task(runtime.request("keeper", "e", number)))
            await asyncio.sleep(max(0.0, begin + number / PER_SECOND - loop.time()))
        answers = await asyncio.gather(*tasks)
        await upgrading
        assert [number for number, _ in answers] == list(range(PER_SECOND * SECONDS))
        assert {words for _, words in answers} == {"words of 1", "words of 2"}
        assert answers[-1][1] == "words of 2"
    seen = (lab.state / "data" / "keeper" / "seen").read_text().split()
    assert sorted(map(int, seen)) == list(range(PER_SECOND * SECONDS))


async def test_a_plain_plugin_is_stopped_before_its_files_are_copied_whoever_installs(
    lab: Lab,
) -> None:
    """The old process must not write to a directory that nobody reads any more."""
    code = """
    def answer(event):
        with open("rows", "a") as file:
            file.write(f"{event['payload']} ")
        return {"status": "ok"}
    time.sleep(WAIT)
    serve(answer)
    """
    lab.plugin("keeper", code.replace("WAIT", "0"))
    source = lab.source("keeper", code.replace("WAIT", "0.5"), below="new", version="2")
    package = pack(source, lab.directory / "keeper.vp").path
    async with lab.manager() as runtime:
        await runtime.start_all()
        await runtime.request("keeper", "e", 1)
        # As a command beside the host does.
        await PluginInstaller(lab.plugins, host=str(lab.socket)).install_from_url(str(package))
        restart = asyncio.create_task(runtime.restart_plugin("keeper"))
        number, answered = 2, [1]
        while not restart.done():
            with suppress(PluginError):
                await runtime.request("keeper", "e", number)
                answered.append(number)
            number += 1
            await asyncio.sleep(0.01)
        await restart
        await runtime.request("keeper", "e", 0)
        (rows,) = lab.plugins.glob(".vconnect/hosts/*/data/keeper/rows")
        assert [int(row) for row in rows.read_text().split()] == [*answered, 0]


@pytest.mark.parametrize("damage", ["versions", "file", "current"])
async def test_a_damaged_installation_is_repaired_by_installing_again(
    lab: Lab, damage: str
) -> None:
    package = make_package(lab, "1")
    async with lab.manager() as runtime:
        await runtime.install_from_url(str(package))
        home = lab.plugins / "keeper"
        if damage == "versions":
            shutil.rmtree(home / "versions")
        elif damage == "current":
            (home / "current").unlink()
        else:
            (version,) = (home / "versions").iterdir()
            (version / "pkg" / "keeper").unlink()
        await runtime.install_from_url(str(package))
        await runtime.start_all()
        assert (await ask(runtime))["words"] == "words of 1"
