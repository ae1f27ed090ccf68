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
    manifest_bytes,
    package_bytes,
    tree,
)

# Forks one child per step; each installs and is killed before its n-th call that changes files.
KILLER = r"""
import asyncio, json, os, shutil, signal, sys, threading
from pathlib import Path
from vconnect.errors import InstallError
from vconnect.store.installer import PluginInstaller
from vconnect.store import store

root, archive, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
plugins, old, new = root / "plugins", root / "old", root / "new"
if mode == "renames":
    store.exchange = lambda *_: False  # a file system that cannot swap
STEPS = {
    "open", "mkdir", "rename", "replace", "unlink", "rmdir", "write", "fsync", "flock", "fchmod",
    "close",
}

def tree(directory):
    if not directory.exists():
        return None
    return {
        path.relative_to(directory).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }

def install_and_die(step):
    count = 0
    def watch(frame, event, function):
        nonlocal count
        if event == "c_call" and function.__name__ in STEPS:
            if function.__module__ in ("posix", "fcntl"):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)
    threading.setprofile(watch)
    asyncio.run(PluginInstaller(plugins).install_from_url(archive))
    os._exit(0)

def reset():
    shutil.rmtree(plugins / "example", ignore_errors=True)
    if mode != "first":
        shutil.copytree(old, plugins / "example")

OLD, NEW = (tree(old) if mode != "first" else None), tree(new)
outcomes = []
plugins.mkdir()
for step in range(1, 2000):
    reset()
    pid = os.fork()
    if pid == 0:
        install_and_die(step)
    _, status = os.waitpid(pid, 0)
    at_once = tree(plugins / "example")
    if mode != "renames":
        assert at_once in (OLD, NEW), (step, at_once)
    listed = PluginInstaller(plugins).discover()
    settled = tree(plugins / "example")
    assert settled in (OLD, NEW), (step, settled)
    assert [plugin.problem for plugin in listed] == ([""] if settled else []), step
    left = sorted(path.name for path in plugins.rglob("*") if "example" not in path.parts)
    assert set(tree(plugins)) - {".vconnect", ".vconnect/lock"} <= {
        "example", *("example/" + name for name in (settled or {}))
    }, (step, left)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0 and settled == NEW
        break
    assert os.WTERMSIG(status) == signal.SIGKILL
    outcomes.append("new" if settled == NEW else "old")
json.dump(outcomes, sys.stdout)
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=50,
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    members = [*good_members("example-0.2.0/", version="0.2.0"), file("example-0.2.0/lib/a", b"a")]
    path = tmp_path / "new.vp"
    path.write_bytes(package_bytes(members))
    for name, version in (("old", "0.1.0"), ("new", "0.2.0")):
        (tmp_path / name / "lib").mkdir(parents=True)
        (tmp_path / name / "plugin.json").write_bytes(manifest_bytes(version=version))
        (tmp_path / name / "example").write_bytes(SCRIPT)
        (tmp_path / name / "example").chmod(0o755)
    (tmp_path / "old" / "lib" / "b").write_bytes(b"b")
    (tmp_path / "new" / "lib" / "a").write_bytes(b"a")
    return path


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["swap", "renames", "first"])
def test_killed_at_every_step(tmp_path: Path, package: Path, mode: str) -> None:
    done = run(KILLER, tmp_path, package, mode)
    assert done.returncode == 0, done.stderr
    outcomes = json.loads(done.stdout)
    assert outcomes.count("old") > 20
    assert outcomes.count("new") > 2


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
    assert any(name.startswith(".vconnect/staging-") for name in tree(plugins))
    done = await asyncio.to_thread(run, INSTALL, plugins, package)
    assert done.returncode == 0, done.stderr
    assert tree(plugins / "example") == tree(tmp_path / "new")
    assert [path.name for path in (plugins / ".vconnect").iterdir()] == ["lock"]


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
    version = json.loads((plugins / "example" / "plugin.json").read_bytes())["version"]
    assert len(tree(plugins / "example")) == 3 + 50
    assert len(tree(plugins / "example" / version)) == 50
    assert [path.name for path in (plugins / ".vconnect").iterdir()] == ["lock"]


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
