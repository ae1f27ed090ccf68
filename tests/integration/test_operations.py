"""A running host is given plugins and versions, and loses them, with real processes and files."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import socket
import textwrap
import threading
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import ECHO, Lab, until, until_status

from vconnect import PluginRuntimeManager
from vconnect.errors import ConflictError, InstallError, PluginError
from vconnect.operations.changes import Change
from vconnect.packages.pack import pack
from vconnect.store.lock_file import LockFile

pytestmark = pytest.mark.both_loops

ANSWER = """
def answer(event):
    with open("rows", "a") as rows:
        rows.write("x")
    return {"status": "ok", "data": VERSION}
serve(answer, version=VERSION)
"""
BROKEN = "sys.exit('no token')"


def package(lab: Lab, version: str, code: str = ANSWER, name: str = "one", **manifest: Any) -> str:
    """Pack a version of a plugin that answers with it."""
    code = f"VERSION = {version!r}\n{code}"
    below = f"source-{name}-{version}-{len(code)}"
    source = lab.source(name, code, below=below, version=version, **manifest)
    return str(pack(source, lab.directory / f"{name}-{version}.vp").path)


def facts(change: Change) -> tuple[str, str, str, str]:
    return change.name, change.before, change.after, change.result


class SlowServer:
    """Sends a file once it is told to go on."""

    def __init__(self, content: bytes) -> None:
        self.asked, self.go_on = threading.Event(), threading.Event()
        self._content = content
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> SlowServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._listener.close()
        self._thread.join(10)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65536)
            self.asked.set()
            self.go_on.wait(10)
            head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._content)}\r\n\r\n"
            with suppress(OSError):
                connection.sendall(head.encode() + self._content)


async def until_substate(runtime: PluginRuntimeManager, name: str, substate: str) -> None:
    await until(lambda: runtime.summary(name).substate == substate, substate)


async def ask(runtime: PluginRuntimeManager, name: str = "one") -> Any:
    return await runtime.request(name, "e", {})


@pytest.fixture
async def runtime(lab: Lab) -> AsyncIterator[PluginRuntimeManager]:
    async with lab.manager() as runtime:
        await runtime.start_all()
        yield runtime


async def test_the_life_of_a_plugin(lab: Lab, runtime: PluginRuntimeManager, caplog) -> None:
    caplog.set_level("INFO")
    first, second = package(lab, "1"), package(lab, "2")
    (made,) = await runtime.packages.install([first])
    assert facts(made) == ("one", "", "1", "installed")
    assert await ask(runtime) == "1"
    (again,) = await runtime.packages.install([first])
    assert facts(again) == ("one", "1", "1", "unchanged")
    (refused,) = await runtime.packages.install([second])
    assert (refused.result, refused.code) == ("failed", "conflict")
    assert refused.reason == (
        "one is installed (1), and the package is version 2; to replace it, use --upgrade"
    )
    (switched,) = await runtime.packages.install([second], upgrade=True, by="ann")
    assert facts(switched) == ("one", "1", "2", "switched")
    assert await ask(runtime) == "2"
    back = await runtime.packages.rollback("one")
    assert facts(back) == ("one", "2", "1", "switched")
    assert await ask(runtime) == "1"
    forth = await runtime.packages.rollback("one", "2")
    assert facts(forth) == ("one", "1", "2", "switched")
    versions = await runtime.packages.versions("one")
    assert [(one.version, one.states) for one in versions] == [
        ("2", ("current", "running")),
        ("1", ()),
    ]
    data = lab.state / "data" / "one"
    (gone,) = await runtime.packages.uninstall(["one"])
    assert facts(gone) == ("one", "2", "", "removed")
    assert gone.reason == f"its data stays in {data}; to remove it too, use --purge"
    assert runtime.runtime_summaries() == []
    assert not (lab.plugins / "one").exists()
    assert (data / "rows").exists()
    audited = [text for text in caplog.messages if text.startswith("audit: ")]
    assert len(audited) == 7
    assert audited[3].startswith("audit: install one 1 → 2 by ann: switched in ")


async def test_an_upgrade_takes_what_its_source_has_now(lab: Lab, runtime) -> None:
    source = package(lab, "1")
    await runtime.packages.install([source])
    (same,) = await runtime.packages.upgrade(["one"])
    assert facts(same) == ("one", "1", "1", "unchanged")
    shutil.copy(package(lab, "2"), source)
    (planned,) = await runtime.packages.upgrade(["one"], dry_run=True)
    assert facts(planned) == ("one", "1", "2", "planned")
    assert await ask(runtime) == "1"
    (made,) = await runtime.packages.upgrade(["v.plugin.one"])
    assert facts(made) == ("one", "1", "2", "switched")
    assert await ask(runtime) == "2"
    shutil.copy(package(lab, "1", name="other"), source)
    (other,) = await runtime.packages.upgrade(["one"])
    assert other.reason.startswith("its source has a package of other now, not of one")
    (unknown,) = await runtime.packages.upgrade(["nobody"])
    assert (unknown.name, unknown.code) == ("nobody", "unknown_plugin")


async def test_what_does_not_get_ready_leaves_the_old_version_serving(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    pid = runtime.summary("one").pid
    (made,) = await runtime.packages.install([package(lab, "2", BROKEN)], upgrade=True)
    assert facts(made) == ("one", "1", "1", "failed")
    assert "2 did not get ready" in made.reason
    assert made.reason.endswith("; 1 serves on")
    assert await ask(runtime) == "1"
    assert runtime.summary("one").pid == pid
    versions = await runtime.packages.versions("one")
    assert [(one.version, one.states) for one in versions] == [
        ("1", ("current", "running")),
        ("2", ("failed",)),
    ]
    # It is no version to go back to.
    back = await runtime.packages.rollback("one")
    assert back.reason == "one has no earlier version in the store"


async def test_a_first_version_that_does_not_start_is_installed_all_the_same(lab, runtime) -> None:
    (made,) = await runtime.packages.install([package(lab, "1", BROKEN)])
    assert (made.result, made.code) == ("failed", "start_failed")
    assert "it is installed: correct that, and use: vconnect start one" in made.reason
    assert runtime.summary("one").name == "one"


async def test_an_upgrade_under_load_loses_no_event(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    answers: list[Any] = []
    done = asyncio.Event()

    async def keep_asking() -> None:
        while not done.is_set():
            answers.append(await ask(runtime))
            await asyncio.sleep(0.001)

    askers = [asyncio.create_task(keep_asking()) for _ in range(4)]
    await runtime.packages.install([package(lab, "2")], upgrade=True)
    await runtime.packages.rollback("one")
    await asyncio.sleep(0.05)
    done.set()
    await asyncio.gather(*askers)  # raises if one was lost
    assert set(answers) == {"1", "2"}
    assert answers[-1] == "1"


async def test_a_stopped_plugin_waits_for_its_start(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    await runtime.stop_plugin("one")
    (made,) = await runtime.packages.install([package(lab, "2")], upgrade=True)
    assert facts(made) == ("one", "1", "2", "waiting")
    assert runtime.summary("one").status == "Stopped"
    await runtime.start_plugin("one")
    assert await ask(runtime) == "2"


async def test_a_dry_run_changes_nothing(lab: Lab, runtime) -> None:
    (made,) = await runtime.packages.install([package(lab, "1")], dry_run=True)
    assert facts(made) == ("one", "", "1", "planned")
    assert len(made.digest) == 64
    assert not (lab.plugins / "one").exists()
    assert runtime.runtime_summaries() == []
    await runtime.packages.install([package(lab, "1")])
    await runtime.packages.install([package(lab, "2")], upgrade=True)
    assert facts(await runtime.packages.rollback("one", dry_run=True)) == (
        "one",
        "2",
        "1",
        "planned",
    )
    (gone,) = await runtime.packages.uninstall(["one"], dry_run=True)
    assert facts(gone) == ("one", "2", "", "planned")
    assert await ask(runtime) == "2"


async def test_several_at_once_and_a_bad_one_among_them(lab: Lab, runtime) -> None:
    good = package(lab, "1", name="good"), package(lab, "1", name="other")
    made = await runtime.packages.install([good[0], str(lab.directory / "nothing.vp"), good[1]])
    assert [one.result for one in made] == ["installed", "failed", "installed"]
    assert "nothing.vp" in made[1].name
    assert await ask(runtime, "other") == "1"


async def test_what_others_require_stays_unless_they_go_too(lab: Lab, runtime) -> None:
    users = package(lab, "1", name="users")
    await runtime.packages.install([users, package(lab, "1", name="chat", requires=["users"])])
    (refused,) = await runtime.packages.uninstall(["users"])
    assert (refused.code, runtime.summary("users").status) == ("conflict", "Running")
    assert refused.reason == "users is required by chat; remove them too, or use --force"
    gone = await runtime.packages.uninstall(["users", "chat"], purge=True)
    assert [(one.name, one.result) for one in gone] == [("chat", "removed"), ("users", "removed")]
    assert not (lab.state / "data" / "users").exists()


async def test_what_was_put_there_by_hand_is_taken_in(lab: Lab, runtime) -> None:
    lab.plugin("hand", "serve()")
    (planned,) = await runtime.packages.rescan(dry_run=True)
    assert (planned.name, planned.result) == ("hand", "planned")
    assert runtime.runtime_summaries() == []
    (found,) = await runtime.packages.rescan()
    assert (found.name, found.result) == ("hand", "found")
    await until_status(runtime, "hand", "Running")
    assert await runtime.packages.rescan() == []
    shutil.rmtree(lab.plugins / "hand")
    (gone,) = await runtime.packages.rescan()
    assert (gone.name, gone.result) == ("hand", "gone")
    assert runtime.summary("hand").status == "Running"  # as long as it runs


async def test_a_changed_file_is_found(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    lab.plugin("hand", "serve()")
    await runtime.packages.rescan()
    found = {one.name: one for one in await runtime.packages.verify()}
    assert found["hand"].verdict == "not from a package"
    assert (found["one"].verdict, found["one"].is_sound) == ("ok", True)
    (program,) = (lab.plugins / "one").glob("versions/*/pkg/one")
    program.chmod(0o755)
    program.write_text(program.read_text() + "# changed\n")
    program.parent.chmod(0o755)
    (program.parent / "new.py").symlink_to("/etc/passwd")
    (program.parent / "plugin.json").unlink()
    (one,) = await runtime.packages.verify(["one"])
    assert not one.is_sound
    assert (one.changed, one.missing, one.extra) == (("one",), ("plugin.json",), ("new.py",))


async def test_a_plugin_from_source_is_not_removed(lab: Lab) -> None:
    source = lab.source("dev", "serve()")
    async with lab.manager(dev_plugins=(f"dev:{source}",)) as runtime:
        await runtime.start_all()
        (refused,) = await runtime.packages.uninstall(["dev"])
        assert refused.reason.endswith("take it out of dev_plugins instead")
        assert Path(source).exists()


def digest_of(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


async def test_a_package_changed_by_one_byte_is_refused_while_the_old_one_serves(lab: Lab) -> None:
    lock = lab.directory / "vconnect.lock"
    source = package(lab, "1")
    async with lab.manager(lock_file=str(lock)) as runtime:
        await runtime.start_all()
        await runtime.packages.install([source])
        assert await ask(runtime) == "1"
        before = lock.read_text()
        assert digest_of(source) in before
        assert package(lab, "1", ANSWER + "# changed") == source
        for change in (
            await runtime.packages.upgrade(["one"]),
            await runtime.packages.install([source], upgrade=True),
        ):
            assert (change[0].result, change[0].code) == ("failed", "not_verified")
            assert digest_of(source) in change[0].reason
        assert await ask(runtime) == "1"
        assert lock.read_text() == before
        assert len(await runtime.packages.versions("one")) == 1


async def test_the_lock_follows_what_is_current(lab: Lab) -> None:
    lock = lab.directory / "vconnect.lock"

    def locked() -> str:
        return LockFile(lock).entries()["one"].version

    async with lab.manager(lock_file=str(lock)) as runtime:
        await runtime.start_all()
        await runtime.packages.install([package(lab, "1")])
        assert locked() == "1"
        await runtime.packages.install([package(lab, "2")], upgrade=True)
        assert locked() == "2"
        await runtime.packages.install([package(lab, "3", BROKEN)], upgrade=True)
        assert locked() == "2"
        await runtime.packages.rollback("one")
        assert locked() == "1"
        (refused,) = await runtime.packages.install([package(lab, "2")], upgrade=True, frozen=True)
        assert (refused.code, locked()) == ("not_verified", "1")
        await runtime.packages.uninstall(["one"])
        assert LockFile(lock).entries() == {}


async def test_a_lock_file_that_cannot_be_used_stops_installations_and_no_plugin(lab: Lab) -> None:
    lock = lab.directory / "vconnect.lock"
    async with lab.manager(lock_file=str(lock)) as runtime:
        await runtime.start_all()
        await runtime.packages.install([package(lab, "1")])
        lock.write_text("format = 99\n")
        (refused,) = await runtime.packages.install([package(lab, "2")], upgrade=True)
        assert refused.code == "config_error"
        assert "format is 99" in refused.reason
        assert await ask(runtime) == "1"
        assert lock.read_text() == "format = 99\n"


async def test_a_digest_that_is_asked_for_must_be_the_packages(lab: Lab, runtime) -> None:
    source = package(lab, "1")
    (refused,) = await runtime.packages.install([f"{source}#sha256={'0' * 64}"])
    assert (refused.code, runtime.runtime_summaries()) == ("not_verified", [])
    assert not (lab.plugins / "one").exists()
    (made,) = await runtime.packages.install([f"{source}#sha256={digest_of(source)}"])
    assert made.result == "installed"
    (bad,) = await runtime.packages.install([f"{source}#sha256=12"])
    assert "expected 64 hex digits" in bad.reason


async def test_the_configuration_may_name_a_digest_too(lab: Lab) -> None:
    source = package(lab, "1")
    with pytest.raises(InstallError, match="was asked for"):
        async with lab.manager(install=(f"{source}#sha256={'0' * 64}",)):
            pass
    async with lab.manager(install=(f"{source}#sha256={digest_of(source)}",)) as runtime:
        await runtime.start_all()
        assert await ask(runtime) == "1"


async def test_a_disabled_plugin_is_started_by_nobody_until_it_is_enabled(lab: Lab) -> None:
    lab.plugin("one", "serve()")
    async with lab.manager() as runtime:
        await runtime.start_all()
        await runtime.disable_plugin("one")
        for order in (runtime.start_plugin, runtime.restart_plugin):
            with pytest.raises(ConflictError, match="vconnect enable one"):
                await order("one")
        await runtime.stop_plugin("one")  # which does not enable it
    async with lab.manager() as runtime:
        await runtime.start_all()
        summary = runtime.summary("one")
        assert (summary.status, summary.reason) == ("Installed", "disabled by the operator")
        await runtime.enable_plugin("one")
        assert runtime.summary("one").status == "Running"
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("one").status == "Running"


async def test_a_disabled_plugin_is_upgraded_and_stays_so(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    await runtime.disable_plugin("one")
    (made,) = await runtime.packages.install([package(lab, "2")], upgrade=True)
    assert made.result == "waiting"
    assert runtime.summary("one").status == "Stopped"
    await runtime.enable_plugin("one")
    assert await ask(runtime) == "2"


async def test_changes_of_one_plugin_come_one_after_the_other(lab: Lab, runtime) -> None:
    slow = "time.sleep(0.5)\n" + ANSWER
    await runtime.packages.install([package(lab, "1")])
    first = asyncio.create_task(runtime.packages.install([package(lab, "2", slow)], upgrade=True))
    await until_substate(runtime, "one", "replacing")
    back, gone = await asyncio.gather(
        runtime.packages.rollback("one", "1"), runtime.packages.uninstall(["one"])
    )
    assert [facts(one) for one in (*await first, back, *gone)] == [
        ("one", "1", "2", "switched"),
        ("one", "2", "1", "switched"),
        ("one", "1", "", "removed"),
    ]


@pytest.mark.parametrize("uninstalled", [False, True])
async def test_a_download_delays_nobody(lab: Lab, runtime, uninstalled: bool) -> None:
    await runtime.packages.install([package(lab, "1"), package(lab, "1", name="two")])
    with SlowServer(Path(package(lab, "2")).read_bytes()) as server:
        hanging = asyncio.create_task(
            runtime.packages.install([f"http://127.0.0.1:{server.port}/one.vp"], upgrade=True)
        )
        await asyncio.to_thread(server.asked.wait, 10)
        (other,) = await runtime.packages.install([package(lab, "2", name="two")], upgrade=True)
        assert facts(other) == ("two", "1", "2", "switched")
        if uninstalled:
            await runtime.packages.uninstall(["one"])
        server.go_on.set()
        (change,) = await hanging
    expected = ("", "2", "installed") if uninstalled else ("1", "2", "switched")
    assert facts(change)[1:] == expected


async def test_an_upgrade_does_not_bring_back_what_was_removed_meanwhile(lab: Lab, runtime) -> None:
    source = package(lab, "1")
    await runtime.packages.install([source])
    async with runtime.packages._turns.of("one"):
        upgrading = asyncio.create_task(runtime.packages.upgrade(["one"]))
        await asyncio.sleep(0.2)
        assert not upgrading.done()
        removing = asyncio.create_task(runtime.stop_plugin("one"))
        await removing
        shutil.rmtree(lab.plugins / "one")
    (change,) = await upgrading
    assert (change.result, change.code) == ("failed", "conflict")
    assert not (lab.plugins / "one").exists()


async def test_a_cancelled_change_is_told(lab: Lab, runtime, caplog) -> None:
    caplog.set_level("INFO")
    with SlowServer(b"") as server:
        hanging = asyncio.create_task(
            runtime.packages.install([f"http://127.0.0.1:{server.port}/one.vp"], by="ann")
        )
        await asyncio.to_thread(server.asked.wait, 10)
        hanging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await hanging
        server.go_on.set()
    (audited,) = [text for text in caplog.messages if text.startswith("audit: ")]
    assert "by ann: failed" in audited
    assert "its caller was cancelled" in audited


async def test_a_stop_during_an_upgrade_is_told_as_it_is(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    slow = package(lab, "2", "time.sleep(5)\n" + ANSWER)
    upgrade = asyncio.create_task(runtime.packages.install([slow], upgrade=True))
    await asyncio.sleep(0.5)
    await runtime.stop_plugin("one")
    (made,) = await upgrade
    assert facts(made) == ("one", "1", "1", "failed")
    assert "serves on" not in made.reason
    # What has failed is not what the next start tries.
    await runtime.start_plugin("one")
    assert await ask(runtime) == "1"


async def test_what_was_changed_by_hand_is_mended_by_an_installation(lab: Lab, runtime) -> None:
    source = package(lab, "1")
    await runtime.packages.install([source])
    (program,) = (lab.plugins / "one").glob("versions/*/pkg/one")
    program.chmod(0o755)
    program.write_text(program.read_text().replace("data", "dat"))
    await runtime.restart_plugin("one")
    assert not (await runtime.packages.verify())[0].is_sound
    changed = runtime.summary("one").pid
    (made,) = await runtime.packages.install([source])
    assert facts(made) == ("one", "1", "1", "repaired")
    assert (await runtime.packages.verify())[0].is_sound
    assert runtime.summary("one").pid != changed, "it ran what was changed"
    assert await ask(runtime) == "1"
    await runtime.stop_plugin("one")
    (program,) = (lab.plugins / "one").glob("versions/*/pkg/one")
    program.unlink()
    (made,) = await runtime.packages.install([source])
    assert made.result == "repaired"
    assert runtime.summary("one").pid is None, "the operator has stopped it"


async def test_a_start_that_switches_keeps_no_more_versions(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    await runtime.packages.install([package(lab, "2")], upgrade=True)
    await runtime.stop_plugin("one")
    await runtime.packages.install([package(lab, "3")], upgrade=True)
    await runtime.start_plugin("one")
    async with asyncio.timeout(10):
        while len(found := await runtime.packages.versions("one")) > 2:
            await asyncio.sleep(0.01)
    assert {one.version for one in found} == {"2", "3"}


async def test_a_name_that_looks_like_another_one_is_refused(lab: Lab, runtime) -> None:
    def named(name: str) -> str:
        made = lab.source(name, ECHO, below="named", version="1")
        return str(pack(made, lab.directory / f"{name}.vp").path)

    await runtime.packages.install([named("word-filter")])
    for name in ("wordfilter", "word_filter", "w0rd-filter", "Word-Filter", "word-fi1ter"):
        (made,) = await runtime.packages.install([named(name)])
        assert (made.result, made.code) == ("failed", "conflict"), name
    assert "looks like word-filter, which word-filter has" in made.reason
    assert not (lab.plugins / "word-fi1ter").exists()
    (made,) = await runtime.packages.install([named("word_filter")], allow_similar=True)
    assert made.result == "installed"
    (made,) = await runtime.packages.install([named("word-filters")])
    assert made.result == "installed"


async def test_nobody_goes_back_to_what_was_changed_by_hand(lab: Lab, runtime) -> None:
    first = package(lab, "1")
    await runtime.packages.install([first])
    await runtime.packages.install([package(lab, "2")], upgrade=True)
    (program,) = (lab.plugins / "one").glob("versions/1+*/pkg/one")
    program.unlink()
    refused = await runtime.packages.rollback("one")
    assert refused.code == "not_verified"
    assert "install the package again" in refused.reason
    assert await ask(runtime) == "2"
    (made,) = await runtime.packages.install([first], upgrade=True)
    assert facts(made) == ("one", "2", "1", "switched")


async def test_nothing_is_remembered_of_a_plugin_that_was_removed(lab: Lab) -> None:
    source = package(lab, "1")
    async with lab.manager() as runtime:
        await runtime.start_all()
        await runtime.packages.install([source])
        await runtime.disable_plugin("one")
        await runtime.packages.uninstall(["one"])
        (made,) = await runtime.packages.install([source])
        assert made.result == "installed"
        await runtime.packages.uninstall(["one"])
    async with lab.manager(install=(source,)) as runtime:
        await runtime.start_all()
        assert await ask(runtime) == "1"


async def test_a_removal_that_fails_leaves_the_plugin_running(
    lab: Lab, runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    await runtime.packages.install([package(lab, "1")])

    def refuse(*_: object) -> None:
        raise InstallError("Read-only file system")

    monkeypatch.setattr("vconnect.store.store.PluginStore.uninstall", refuse)
    (made,) = await runtime.packages.uninstall(["one"])
    assert (made.result, made.reason) == ("failed", "Read-only file system")
    assert await ask(runtime) == "1"


async def test_what_the_old_process_left_does_not_open_the_circuit_of_the_new_one(lab: Lab) -> None:
    hangs = """
    def answer(event):
        time.sleep(60)
    serve(answer, version=VERSION)
    """
    async with lab.manager(drain_timeout=0.2, stop_timeout=0.2, breaker_failures=2) as runtime:
        await runtime.start_all()
        await runtime.packages.install([package(lab, "1", textwrap.dedent(hangs))])
        waiting = [asyncio.create_task(ask(runtime)) for _ in range(10)]
        await asyncio.sleep(0.1)
        (made,) = await runtime.packages.install([package(lab, "2")], upgrade=True)
        assert made.result == "switched"
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(one, PluginError) for one in results)
        assert await ask(runtime) == "2"
        assert runtime.summary("one").breaker == "closed"


# --- permissions ------------------------------------------------------------------------------

CALLER = """
connection = Connection()
connection.greet(protocol_versions=[1], version=VERSION)
for event in connection.events():
    if "id" in event:
        connection.send({"id": 1, "call": "secret.read", "params": {}})
        while "event" in (answer := connection.receive()):
            pass
        connection.send({"id": event["id"], "status": "ok", "data": answer})
"""


async def test_new_permissions_wait_for_consent_while_the_old_version_serves(
    lab: Lab, runtime
) -> None:
    runtime.host_call("secret.read")(lambda _: "s3cret")
    first = package(lab, "1", CALLER)
    second = package(lab, "2", CALLER, permissions=["secret.read", "log"])
    await runtime.packages.install([first])
    (refused,) = await runtime.packages.install([second], upgrade=True)
    assert facts(refused) == ("one", "1", "2", "failed")
    assert (refused.code, refused.permissions) == ("consent_required", ("secret.read", "log"))
    assert (await ask(runtime))["code"] == "permission_denied"
    assert [one.version for one in await runtime.packages.versions("one")] == ["1"]
    (planned,) = await runtime.packages.install([second], upgrade=True, dry_run=True)
    assert (planned.result, planned.permissions) == ("planned", ("secret.read", "log"))
    (partly,) = await runtime.packages.install([second], upgrade=True, grant=["log"])
    assert partly.result == "switched"
    assert (await ask(runtime))["code"] == "permission_denied"
    third = package(lab, "3", CALLER, permissions=["secret.read", "log"])
    (same,) = await runtime.packages.install([third], upgrade=True)
    assert same.result == "switched"
    assert (await ask(runtime))["code"] == "permission_denied"
    fourth = package(lab, "4", CALLER, permissions=["secret.read", "other"])
    (given,) = await runtime.packages.install([fourth], upgrade=True, grant=["secret.read"])
    assert given.result == "switched"
    assert (await ask(runtime))["data"] == "s3cret"
    assert await runtime.packages.rollback("one", "3")
    assert (await ask(runtime))["code"] == "permission_denied"


async def test_what_is_in_the_store_can_be_granted_more(lab: Lab) -> None:
    source = package(lab, "1", CALLER, permissions=["secret.read", "log"])
    lock = lab.directory / "vconnect.lock"
    async with lab.manager(lock_file=lock) as runtime:
        runtime.host_call("secret.read")(lambda _: "s3cret")
        await runtime.packages.install([source], grant=["log"])
        shown = runtime.summary("one")
        assert (shown.permissions, shown.withheld) == (("log",), ("secret.read",))
        denied = await ask(runtime)
        assert denied["code"] == "permission_denied"
        assert "nobody has granted it" in denied["message"]
        (planned,) = await runtime.packages.install([source], dry_run=True)
        assert (planned.result, planned.permissions) == ("unchanged", ("secret.read",))
        (same,) = await runtime.packages.install([source])
        assert same.result == "unchanged", "nobody is asked again"
        (wrong,) = await runtime.packages.install([source], grant=["other"])
        assert "does not ask for other" in wrong.reason
        (more,) = await runtime.packages.install([source], grant=["*"])
        assert facts(more) == ("one", "1", "1", "granted")
        assert (await ask(runtime))["data"] == "s3cret"
        assert LockFile(lock).entries()["one"].permissions == ("secret.read", "log")
    async with lab.manager(lock_file=lock) as runtime:
        runtime.host_call("secret.read")(lambda _: "s3cret")
        await runtime.start_all()
        assert (await ask(runtime))["data"] == "s3cret", "the next host knows it too"


async def test_the_lock_file_grants_on_another_machine(lab: Lab) -> None:
    source = package(lab, "1", CALLER, permissions=["secret.read"])
    lock = lab.directory / "vconnect.lock"
    async with lab.manager(lock_file=lock) as runtime:
        await runtime.packages.install([source], grant=["*"], start=False)
        assert LockFile(lock).entries()["one"].permissions == ("secret.read",)
    shutil.rmtree(lab.plugins)
    async with lab.manager(lock_file=lock) as runtime:
        runtime.host_call("secret.read")(lambda _: "s3cret")
        (change,) = await runtime.packages.install([source])
        assert change.result == "installed"
        assert (await ask(runtime))["data"] == "s3cret"


async def test_the_configuration_grants_the_first_version_only(lab: Lab, caplog) -> None:
    caplog.set_level("INFO")
    first = package(lab, "1", CALLER, permissions=["secret.read"])
    second = package(lab, "2", CALLER, permissions=["secret.read", "log"])
    async with lab.manager(install=[first]) as runtime:
        runtime.host_call("secret.read")(lambda _: "s3cret")
        await runtime.start_all()
        assert (await ask(runtime))["data"] == "s3cret"
    assert "one: granted by the configuration: secret.read" in caplog.text
    async with lab.manager(install=[second]) as runtime:
        await runtime.start_all()
        assert runtime.summary("one").version == "1"
    assert "one 2 asks for new permissions: log" in caplog.text
    async with lab.manager(install=[second], consent="allow") as runtime:
        await runtime.start_all()
        assert runtime.summary("one").version == "2"


async def test_an_upgrade_uses_the_source_that_was_given_last(lab: Lab, runtime) -> None:
    first = package(lab, "1")
    moved = lab.directory / "moved.vp"
    shutil.copy(first, moved)
    await runtime.packages.install([first])
    await runtime.packages.install([str(moved)])
    shutil.copy(package(lab, "2"), moved)
    (change,) = await runtime.packages.upgrade(["one"])
    assert facts(change) == ("one", "1", "2", "switched")


async def test_a_version_that_a_dependent_cannot_use_is_refused(lab: Lab, runtime) -> None:
    await runtime.packages.install([package(lab, "1")])
    await runtime.packages.install([package(lab, "1", name="two", requires=["one ^1"])])
    (refused,) = await runtime.packages.install([package(lab, "2")], upgrade=True)
    assert (refused.result, refused.code) == ("failed", "conflict")
    assert "two requires one" in refused.reason
    assert await ask(runtime) == "1"
