"""From every kind of source to a plugin that starts."""

import asyncio
import logging
import platform
import subprocess
import sys
from pathlib import Path

import pytest
from aiohttp import web
from tests.support.package_kit import (
    SCRIPT,
    file,
    good_members,
    leftovers,
    manifest_bytes,
    package_bytes,
    tree,
)

from vconnect.errors import InstallError
from vconnect.packages.command import host_arguments, production_command
from vconnect.packages.fitness import check_host_version
from vconnect.packages.manifest import Manifest
from vconnect.store.installer import PluginInstaller
from vconnect.version import host_version

ARCH = {"x86_64": "amd64", "aarch64": "arm64", "arm64": "arm64"}[platform.machine()]
ECHO = b'#!/bin/sh\necho "$@"\n'


@pytest.fixture
def plugin_dir(tmp_path: Path) -> Path:
    return tmp_path / "plugins"


@pytest.fixture
def installer(plugin_dir: Path) -> PluginInstaller:
    return PluginInstaller(plugin_dir)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    path = tmp_path / "plugin.vp"
    members = [file("plugin.json", manifest_bytes()), file("example", ECHO, 0o755)]
    path.write_bytes(package_bytes(members))
    return path


@pytest.fixture
async def serve():
    """Serve bytes by path on the loopback; return the base address."""
    runners = []

    async def start(**pages: bytes) -> str:
        async def page(request: web.Request) -> web.Response:
            return web.Response(body=pages[request.match_info["name"]])

        app = web.Application()
        app.router.add_get("/{name}.{suffix}", page)
        runner = web.AppRunner(app)
        runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}"

    yield start
    for runner in runners:
        await runner.cleanup()


def nothing_left(plugin_dir: Path) -> bool:
    names = {path.name for path in plugin_dir.glob("*")}
    return names <= {".vconnect"} and leftovers(plugin_dir) == []


@pytest.mark.parametrize(
    "source",
    ["plugin.vp", "file://plugin.vp", "file://../{here}/plugin.vp", "file://{full}", "{full}"],
)
async def test_local_sources(
    installer: PluginInstaller,
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
    source: str,
) -> None:
    monkeypatch.chdir(package.parent)
    plugin = await installer.install_from_url(source.format(full=package, here=package.parent.name))
    assert plugin.name == "example"
    assert [plugin] == installer.discover()
    assert package.exists()


async def test_what_is_installed_starts(installer: PluginInstaller, package: Path) -> None:
    plugin = await installer.install_from_url(str(package))
    command = production_command(plugin.name, plugin.path, plugin.manifest)
    command += host_arguments("/run/x.sock", True, "debug")
    done = await asyncio.to_thread(
        subprocess.run, command, capture_output=True, text=True, check=True
    )
    assert done.stdout == "--socket /run/x.sock --debug --log-level debug\n"


async def test_http_from_the_loopback(plugin_dir: Path, package: Path, serve) -> None:
    seen = []
    installer = PluginInstaller(plugin_dir, progress=lambda *step: seen.append(step))
    size = package.stat().st_size
    base = await serve(plugin=package.read_bytes())
    plugin = await installer.install_from_url(f"{base}/plugin.vp?token=a.zip")
    assert plugin.name == "example"
    assert seen[-1] == (size, size)


async def test_placeholders_in_every_kind_of_source(
    installer: PluginInstaller, package: Path, serve
) -> None:
    system = "darwin" if sys.platform == "darwin" else "linux"
    name = f"example-{system}-{ARCH}"
    package.rename(package.with_name(f"{name}.vp"))
    data = package.with_name(f"{name}.vp").read_bytes()
    base = await serve(**{name: data})
    for prefix in (f"{package.parent}/", f"file://{package.parent}/", f"{base}/"):
        plugin = await installer.install_from_url(prefix + "example-${os}-${arch}.vp")
        assert plugin.name == "example"


async def test_the_older_extension(installer: PluginInstaller, package: Path, serve) -> None:
    data = package.rename(package.with_suffix(".wkp")).read_bytes()
    await installer.install_from_url(str(package.with_suffix(".wkp")))
    base = await serve(plugin=data)
    await installer.install_from_url(f"{base}/plugin.wkp")
    assert len(installer.discover()) == 1


async def test_a_newer_version_is_put_beside_the_older(
    installer: PluginInstaller, package: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "vconnect")
    old = await installer.install_from_url(str(package))
    package.write_bytes(package_bytes(good_members(version="0.2.0", name="wk.plugin.example")))
    new = await installer.install_from_url(str(package))
    assert (new.path, new.current) == (old.path, old.current)
    assert (old.next, new.next.version) == (None, "0.2.0")
    assert f"installing plugin from {package}" in caplog.text
    assert "installed example 0.2.0; the next start tries it" in caplog.text


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([file("plugin.json", manifest_bytes()), file("example", SCRIPT)], "chmod"),
        ([file("plugin.json", manifest_bytes(entry="readme")), file("readme")], "not executable"),
        ([file("plugin.json", manifest_bytes())], "no executable file"),
        (
            [
                file("plugin.json", manifest_bytes()),
                file("a", SCRIPT, 0o755),
                file("b", SCRIPT, 0o755),
            ],
            r"\(a, b\)",
        ),
        (good_members(min_host_version="99"), "requires vconnect 99"),
        (good_members(min_host_version="new"), "expected numbers"),
        (good_members(name="../x"), "'../x'"),
        (good_members(entry="none"), "no such file"),
        ([], "no plugin.json"),
    ],
)
async def test_refusals_leave_nothing(
    installer: PluginInstaller,
    plugin_dir: Path,
    package: Path,
    monkeypatch: pytest.MonkeyPatch,
    members: list[tuple],
    words: str,
) -> None:
    monkeypatch.setattr("vconnect.store.installer.host_version", lambda: "1.2.3")
    package.write_bytes(package_bytes(members))
    with pytest.raises(InstallError, match=words) as caught:
        await installer.install_from_url(str(package))
    assert str(package) in str(caught.value)
    assert "staging-" not in str(caught.value)
    assert nothing_left(plugin_dir)


async def test_a_refusal_keeps_the_old_version(installer: PluginInstaller, package: Path) -> None:
    plugin = await installer.install_from_url(str(package))
    before = tree(plugin.path)
    package.write_bytes(package.read_bytes()[:-4])
    with pytest.raises(InstallError, match="is truncated"):
        await installer.install_from_url(str(package))
    assert tree(plugin.path) == before


async def test_a_package_larger_than_allowed(plugin_dir: Path, package: Path) -> None:
    with pytest.raises(InstallError, match="the limit is 50"):
        await PluginInstaller(plugin_dir, max_package_bytes=50).install_from_url(str(package))


async def test_two_at_once_end_one_after_the_other(
    plugin_dir: Path, package: Path, tmp_path: Path
) -> None:
    trees = []
    packages = []
    for version in ("1", "2"):
        members = [*good_members(version=version), *(file(f"f{n}-{version}") for n in range(200))]
        packages.append(tmp_path / f"{version}.vp")
        packages[-1].write_bytes(package_bytes(members))
        alone = await PluginInstaller(tmp_path / version).install_from_url(str(packages[-1]))
        trees.append(tree(alone.path))
    installers = [PluginInstaller(plugin_dir), PluginInstaller(plugin_dir)]
    for _ in range(3):
        await asyncio.gather(
            *(one.install_from_url(str(path)) for one in installers for path in packages)
        )
        [plugin] = installers[0].discover()
        versions = [plugin.current, plugin.next or plugin.current]
        assert all(tree(version.package) in trees for version in versions)
        assert leftovers(plugin_dir) == []


@pytest.mark.parametrize("after_ticks", [0, 1, 2, 3, 5, 8, 13, 21, 34])
async def test_cancellation_leaves_nothing_or_the_new_version(
    installer: PluginInstaller, plugin_dir: Path, package: Path, after_ticks: int
) -> None:
    task = asyncio.create_task(installer.install_from_url(str(package)))
    for _ in range(after_ticks):
        await asyncio.wait([task], timeout=0.0005)
    task.cancel()
    [outcome] = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, asyncio.CancelledError)
    assert leftovers(plugin_dir) == []
    for plugin in installer.discover():
        assert plugin.problem == ""
        assert (plugin.path / "example").read_bytes() == ECHO


async def test_cancelling_a_download(installer: PluginInstaller, plugin_dir: Path) -> None:
    connected = asyncio.Event()
    closed = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nxxx")
        connected.set()
        await reader.read()
        writer.close()
        closed.set()

    server = await asyncio.start_server(stall, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}/a.vp"
        task = asyncio.create_task(installer.install_from_url(url))
        await asyncio.wait_for(connected.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.wait_for(closed.wait(), 10)
    assert nothing_left(plugin_dir)


async def test_the_loop_stays_responsive(
    installer: PluginInstaller, package: Path, tmp_path: Path
) -> None:
    members = [*good_members(), *(file(f"d{n}/f", b"x" * 4096) for n in range(500))]
    package.write_bytes(package_bytes(members))
    loop = asyncio.get_running_loop()
    task = asyncio.create_task(installer.install_from_url(str(package)))
    worst, before = 0.0, loop.time()
    while not task.done():
        await asyncio.wait([task], timeout=0.001)
        now = loop.time()
        worst, before = max(worst, now - before), now
    await task
    assert worst < 0.25


@pytest.mark.parametrize(
    ("wanted", "host", "good"),
    [
        ("", "0.1", True),
        ("0.1", "0.1.0", True),
        ("0.1.0", "0.1", True),
        ("0.2", "0.10", True),
        ("0.2", "0.1.9", False),
        ("1", "1.0rc1", True),
        ("1", "", True),
    ],
)
def test_min_host_version(wanted: str, host: str, good: bool) -> None:
    manifest = Manifest(name="x", min_host_version=wanted)
    if good:
        check_host_version(manifest, host, "x.vp")
    else:
        with pytest.raises(InstallError, match="upgrade vconnect"):
            check_host_version(manifest, host, "x.vp")
    assert isinstance(host_version(), str)


def test_aiohttp_is_not_imported_before_it_is_needed() -> None:
    code = "import sys, vconnect.store.installer; print('aiohttp' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "False"
