"""Killing the installer at every step, and disks that refuse: the old version or the new one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.package_kit import (
    SCRIPT,
    file,
    good_members,
    leftovers,
    manifest_bytes,
    package_bytes,
    tree,
)

# Forks one child per step; each does one thing and is killed before its n-th call that changes
# files. After each, a host that starts finds the old version or the new one, whole, and the same
# thing can be done again.
KILLER = r"""
import asyncio, hashlib, json, os, shutil, signal, sys, threading
from pathlib import Path
from vconnect.settings.model import Settings
from vconnect.settings.parts import StoreSettings
from vconnect.store.plain import migration
from vconnect.store.plain.carry import Pending
from vconnect.store.installer import PluginInstaller
from vconnect.store.releases import Releases
from vconnect.removal import remove_tree
from vconnect.store.lock_file import LockFile

root, mode = Path(sys.argv[1]), sys.argv[2]
plugins, template, state = root / "plugins", root / "template", root / "state"
old, new = str(root / "old.vp"), str(root / "new.vp")
home, lock = plugins / "example", root / "vconnect.lock"
if mode == "renames":
    migration.exchange = lambda *_: False  # a file system that cannot exchange
STEPS = {
    "open", "mkdir", "rename", "replace", "unlink", "rmdir", "write", "fsync", "flock", "fchmod",
    "close", "symlink", "chmod", "link", "ftruncate", "pwrite",
}

def installer():
    return PluginInstaller(plugins, host="/run/host.sock", lock_file=lock)

def releases():
    settings = Settings(plugin_dir=str(plugins), socket_path="/run/host.sock", state_dir=str(state))
    return Releases(installer().store, settings.part(StoreSettings))

def install(package):
    return asyncio.run(installer().install_from_url(package))

def switch():
    version = installer().store.home("example").next_version()
    asyncio.run(releases().make_current("example", version))

def act():
    if mode in ("first", "upgrade", "exchange", "renames"):
        install(new)
    elif mode == "equal":
        install(old)
    elif mode == "again":
        install(new)
    elif mode == "switch":
        version = installer().store.home("example").find(NEW)
        asyncio.run(releases().make_current("example", version))
    elif mode == "collect":
        asyncio.run(releases().collect("example"))
    elif mode == "carry":
        Pending(plugins / "example", state).carry("example")
    elif mode == "uninstall" and home.exists():
        installer().store.uninstall("example")

def prepare():
    if mode == "first":
        template.mkdir()
        return
    if mode in ("exchange", "renames", "carry"):
        (template / "example").mkdir(parents=True)
        for name, data, bits in json.loads((root / "old.json").read_text()):
            (template / "example" / name).write_text(data)
            (template / "example" / name).chmod(bits)
        (template / "example" / "rows").write_text("rows")
    if mode == "carry":
        shutil.move(template, plugins)
        install(new)
        shutil.move(plugins, template)
    elif mode not in ("exchange", "renames"):
        for package in [old, new] if mode in ("again", "switch", "collect") else [old]:
            install(package)
        if mode == "again":
            installer().store.home("example").set_next(None)
        if mode == "collect":
            switch()
            install(str(root / "third.vp"))
            switch()
        shutil.move(plugins, template)

def reset():
    for path in (plugins, state, lock):
        remove_tree(path)
    shutil.copytree(template, plugins, symlinks=True)

def act_and_die(step):
    count = 0
    def before_a_call():
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)
    def watch(frame, event, function):
        if event == "c_call" and getattr(function, "__module__", "") in ("posix", "fcntl"):
            if function.__name__ in STEPS:
                before_a_call()
    exchange = migration.exchange
    def counted(*paths):  # what ctypes calls is not seen by a profile
        before_a_call()
        return exchange(*paths)
    migration.exchange = counted
    threading.setprofile(watch)
    sys.setprofile(watch)
    act()
    os._exit(0)

def digest(package):
    return hashlib.sha256(Path(package).read_bytes()).hexdigest()

NEW, OLD = digest(new), digest(old)
PLAIN = mode in ("exchange", "renames", "carry")

def seen():
    # What a host that starts now finds.
    listed = installer().discover()
    assert all(plugin.problem == "" for plugin in listed), listed
    if not listed:
        assert mode in ("first", "uninstall")
        return ("", "")
    [plugin] = listed
    for version in (plugin.current, plugin.next):
        if version is not None:
            files = {path.name for path in version.package.iterdir()}
            assert {"plugin.json", "example", "lib"} <= files or version.is_legacy, files
    if plugin.current is None:
        assert PLAIN and (plugin.path / "rows").read_text() == "rows"
        return ("plain", "")
    if plugin.current.is_legacy:
        assert (plugin.path / "rows").read_text() == "rows"
        assert (plugin.path / "example").exists()
    return (plugin.current.version, plugin.next.version if plugin.next else "")

def check():
    found = seen()
    locked = LockFile(lock).entries()
    assert all(one.version in ("0.1.0", "0.2.0", "0.3.0") for one in locked.values()), locked
    private, kept = plugins / ".vconnect", ("store.lock", "locks", "staging", "partial")
    left = [path for path in private.glob("*") if path.name not in kept]
    left += [*private.glob("staging/*"), *private.glob("partial/*")]
    assert left == [], left
    if mode == "carry":
        data = state / "data" / "example"
        assert {path.name for path in data.glob("*")} <= {"rows", ".vconnect-carried.new"}
        assert not (data / "rows").exists() or (data / "rows").read_text() == "rows"
        asyncio.run(releases().carry("example", home))
        assert [path.name for path in data.iterdir()] == ["rows"]
        assert (data / "rows").read_text() == "rows"
    return found

outcomes = []
prepare()
for step in range(1, 3000):
    reset()
    pid = os.fork()
    if pid == 0:
        act_and_die(step)
    _, status = os.waitpid(pid, 0)
    found = check()
    outcomes.append(found)
    over = os.WIFEXITED(status)
    assert over or os.WTERMSIG(status) == signal.SIGKILL
    assert not over or os.WEXITSTATUS(status) == 0
    act()  # the same again succeeds
    last = check()
    if mode != "collect":
        assert last == found or not over, (last, found)
    doomed = [path.name for path in home.glob("versions/.*")]
    assert doomed == [], doomed
    if over:
        locked = {one.version for one in LockFile(lock).entries().values()}
        assert locked == ({last[0]} if mode in ("first", "switch") else locked), locked
        assert not locked or mode != "uninstall", locked
        break
json.dump([outcomes, last, sorted(path.name for path in home.glob("versions/*"))], sys.stdout)
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=200,
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def members(version: str) -> list[tuple]:
    top = f"example-{version}/"
    return [*good_members(top, version=version), file(f"{top}lib/a", version.encode())]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, version in (("old", "0.1.0"), ("new", "0.2.0"), ("third", "0.3.0")):
        (tmp_path / f"{name}.vp").write_bytes(package_bytes(members(version)))
    old = [
        ("plugin.json", manifest_bytes(version="0.1.0").decode(), 0o644),
        ("example", SCRIPT.decode(), 0o755),
    ]
    (tmp_path / "old.json").write_text(json.dumps(old))
    return tmp_path / "new.vp"


@pytest.mark.slow
@pytest.mark.timeout(240)  # hundreds of processes that wait for the disk
@pytest.mark.parametrize(
    ("mode", "before", "after"),
    [
        ("first", ("", ""), ("0.2.0", "")),
        ("upgrade", ("0.1.0", ""), ("0.1.0", "0.2.0")),
        ("equal", ("0.1.0", ""), ("0.1.0", "")),
        ("again", ("0.1.0", ""), ("0.1.0", "0.2.0")),
        ("exchange", ("plain", ""), ("0.1.0", "0.2.0")),
        ("renames", ("plain", ""), ("0.1.0", "0.2.0")),
        ("switch", ("0.1.0", "0.2.0"), ("0.2.0", "")),
        ("collect", ("0.3.0", ""), ("0.3.0", "")),
        ("carry", ("0.1.0", "0.2.0"), ("0.1.0", "0.2.0")),
        ("uninstall", ("0.1.0", ""), ("", "")),
    ],
)
def test_killed_at_every_step(
    tmp_path: Path, package: Path, mode: str, before: tuple[str, str], after: tuple[str, str]
) -> None:
    done = run(KILLER, tmp_path, mode)
    assert done.returncode == 0, done.stderr
    outcomes, last, versions = json.loads(done.stdout)
    seen = {tuple(outcome) for outcome in outcomes}
    assert seen == {before, after}
    assert tuple(last) == after
    assert len(outcomes) > (1 if mode == "equal" else 15)
    # Only the two that are kept.
    assert len(versions) == {"first": 1, "equal": 1, "uninstall": 0}.get(mode, 2)


INSTALL = r"""
import asyncio, sys
from pathlib import Path
from vconnect.errors import InstallError
from vconnect.store.installer import PluginInstaller
try:
    for source in sys.argv[2:]:
        asyncio.run(PluginInstaller(Path(sys.argv[1])).install_from_url(source))
except InstallError as error:
    sys.exit(f"refused: {error}")
"""


async def test_killed_while_downloading(tmp_path: Path, package: Path) -> None:
    plugins = tmp_path / "plugins"
    halfway = asyncio.Event()
    over = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n" + bytes(1000))
        await writer.drain()
        halfway.set()
        await over.wait()
        writer.close()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.vp"
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", INSTALL, str(plugins), url, env=environment()
        )
        try:
            await asyncio.wait_for(halfway.wait(), 20)
        finally:
            child.kill()
            assert await child.wait() == -signal.SIGKILL
            over.set()
    assert len(leftovers(plugins)) == 2  # the staging directory, and a part that is worth nothing
    done = await asyncio.to_thread(run, INSTALL, plugins, package)
    assert done.returncode == 0, done.stderr
    assert (plugins / "example/current/pkg/lib/a").read_bytes() == b"0.2.0"
    assert leftovers(plugins) == []


def test_several_processes_at_once(tmp_path: Path) -> None:
    plugins = tmp_path / "plugins"
    packages = []
    for version in ("1", "2", "3"):
        members = [*good_members(version=version), *(file(f"{version}/{n}") for n in range(50))]
        packages.append(tmp_path / f"{version}.vp")
        packages[-1].write_bytes(package_bytes(members))
    children = [
        subprocess.Popen(
            [sys.executable, "-c", INSTALL, str(plugins), *[str(package)] * 5],
            env=environment(),
            stderr=subprocess.PIPE,
        )
        for package in packages
    ]
    for child in children:
        _, errors = child.communicate(timeout=50)
        assert child.returncode == 0, errors.decode()
    for place in (plugins / "example" / "versions").iterdir():
        number = json.loads((place / "pkg" / "plugin.json").read_bytes())["version"]
        assert len(tree(place / "pkg")) == 3 + 50
        assert len(tree(place / "pkg" / number)) == 50
    assert len(list((plugins / "example" / "versions").iterdir())) == 3
    assert leftovers(plugins) == []


# Disks. A limit on the size of files stands for a full one: both fail in the middle of a write.

FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n" + INSTALL

# Root may write anywhere; nobody may not. Everything is imported before the change.
READ_ONLY = (
    """
import os
import vconnect.store.installer, asyncio
asyncio.run(asyncio.to_thread(len, ""))
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
"""
    + INSTALL
)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may enter."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)
        for path in Path(name).rglob("*"):
            if path.is_dir():
                path.chmod(0o755)


@pytest.mark.parametrize("source", ["local", "http"])
async def test_a_full_disk(tmp_path: Path, package: Path, source: str) -> None:
    plugins = tmp_path / "plugins"
    assert (await asyncio.to_thread(run, INSTALL, plugins, package)).returncode == 0
    before = tree(plugins)
    noise = os.urandom(10_000)
    package.write_bytes(package_bytes([*good_members(), file("lib/noise", noise)]))

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = package.read_bytes()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.vp"
        done = await asyncio.to_thread(run, FULL, plugins, package if source == "local" else url)
    assert "File too large" in done.stderr
    assert done.stderr.startswith(
        f"refused: {package}: 'lib/noise': "
        if source == "local"
        else f"refused: {url}: cannot be saved: "
    )
    assert tree(plugins) == before


def test_a_read_only_plugin_dir(public: Path, package: Path) -> None:
    archive = public / "new.vp"
    archive.write_bytes(package.read_bytes())
    archive.chmod(0o644)
    plugins = public / "plugins"
    assert run(INSTALL, plugins, archive).returncode == 0
    before = tree(plugins)
    for path in (plugins / ".vconnect", plugins):
        path.chmod(0o555)
    done = run(READ_ONLY, plugins, archive)
    assert done.stderr.startswith(f"refused: {plugins}: cannot be written: Permission denied")
    assert tree(plugins) == before
