"""Plugins by name: a real host, a real web server, and the commands of an operator."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.support.index_kit import made
from tests.support.lab import ECHO, Lab
from tests.support.serving import Serve

from vconnect.index.build import withdraw
from vconnect.packages.pack import pack
from vconnect.settings.model import SourceOptions


class Handler(SimpleHTTPRequestHandler):
    """Serves files, and writes down which."""

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.server.authorized.add(self.headers["Authorization"])  # type: ignore[attr-defined]
        super().do_GET()


class Web:
    """A web server with an index of packages of one plugin."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.site = lab.directory / "site"
        self.site.mkdir()
        handler = partial(Handler, directory=str(self.site))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.asked: list[str] = []
        self._server.asked = self.asked  # type: ignore[attr-defined]
        self.authorized: set[str | None] = set()
        self._server.authorized = self.authorized  # type: ignore[attr-defined]
        self.port = self._server.server_port
        self.address = f"http://127.0.0.1:{self.port}/"

    def __enter__(self) -> Web:
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, version: str, code: str = ECHO, **manifest: Any) -> Path:
        below = f"source-{version}-{len(code)}"
        source = self._lab.source("echo", code, below=below, version=version, **manifest)
        target = self.site / f"echo-{version}.vp"
        target.unlink(missing_ok=True)
        package = pack(source, target)
        made(self.site, replace=True)
        return package.path


@pytest.fixture
def web(lab: Lab) -> Iterator[Web]:
    with Web(lab) as web:
        yield web


def configured(lab: Lab, web: Web, *lines: str) -> str:
    file = lab.directory / "vconnect.toml"
    own = "\n".join(lines)
    file.write_text(f'[plugins]\n{own}\n[plugins.sources."{web.address}"]\nindex = true\n')
    return str(file)


def version(host: Serve) -> str:
    found = json.loads(host.ask("info", "echo", "--json").stdout)["installed"]
    return found[0]["version"] if found else ""


@pytest.mark.slow
def test_from_a_search_to_a_withdrawn_version(lab: Lab, web: Web) -> None:
    web.publish("1.0.0", description="Says what it hears")
    web.publish("1.1.0", description="Says what it hears")
    with Serve(lab, "--config", configured(lab, web)) as host:
        host.wait_for_log("running")
        (hit,) = json.loads(host.ask("search", "HEARS", "--json").stdout)["plugins"]
        assert (hit["name"], hit["version"]) == ("echo", "1.1.0")
        assert hit["index"] == f"{web.address}index.json"

        done = host.ask("install", "echo@~1.0")
        assert (done.returncode, done.stdout) == (0, "echo 1.0.0 installed\n")
        host.wait_until("echo", "Running")
        lock = (lab.directory / "vconnect.lock").read_text()
        assert 'requested = "echo@~1.0"' in lock
        assert f'source = "{web.address}index.json"' in lock

        assert host.ask("upgrade", "echo").stdout == "echo 1.0.0 is installed already\n"
        done = host.ask("install", "echo@^1")
        assert (done.returncode, done.stdout) == (0, "echo 1.0.0 is installed already\n")
        (row,) = json.loads(host.ask("outdated", "--json").stdout)
        assert (row["state"], row["available"], row["latest"]) == ("outdated", "1.1.0", "1.1.0")
        assert host.ask("upgrade", "echo").stdout == "echo 1.0.0 → 1.1.0 took over\n"

        withdraw(web.site, "echo", "1.1.0", "loses data")
        (row,) = json.loads(host.ask("outdated", "--json").stdout)
        assert (row["state"], row["yanked"]) == ("current", "loses data")
        assert "1.1.0 was withdrawn: loses data" in host.ask("upgrade", "echo").stdout
        assert version(host) == "1.1.0"

        done = host.ask("install", "nobody")
        assert (done.returncode, done.stdout) == (1, "")
        assert "no index has a plugin of this name" in done.stderr
        assert host.ask("info", "nobody").returncode == 4


@pytest.mark.slow
def test_what_is_not_as_it_was_changes_nothing(lab: Lab, web: Web) -> None:
    first = web.publish("1.0.0")
    old = (web.site / "index.json").read_bytes()
    second = web.publish("1.1.0")
    with Serve(lab, "--config", configured(lab, web)) as host:
        host.wait_for_log("running")
        assert host.ask("search").returncode == 0

        # The package, since the index was made.
        good = second.read_bytes()
        second.write_bytes(first.read_bytes())
        done = host.ask("install", "echo")
        assert done.returncode == 8
        assert f"{web.address}echo-1.1.0.vp has sha256 " in done.stderr
        second.write_bytes(good)

        # The index: an old copy, a page of a proxy, nothing at all.
        new = (web.site / "index.json").read_bytes()
        for content, code, words in (
            (old, 8, "its serial is 1, and 2 was seen before"),
            (b"<!DOCTYPE html><title>Log in</title>", 1, "is not a valid index"),
            (new[:100], 1, "is not a valid index"),
        ):
            (web.site / "index.json").write_bytes(content)
            done = host.ask("install", "echo")
            assert done.returncode == code, done
            assert words in done.stderr
        assert host.ask("search").returncode == 1
        (web.site / "index.json").unlink()
        done = host.ask("install", "echo")
        assert done.returncode == 1
        assert "status 404" in done.stderr

        assert json.loads(host.ask("list", "--json").stdout)["plugins"] == []
        assert not (lab.directory / "vconnect.lock").exists()
        assert not (lab.plugins / "echo").exists()
        (web.site / "index.json").write_bytes(new)
        assert host.ask("install", "echo").stdout == "echo 1.1.0 installed\n"


@pytest.mark.slow
def test_the_configuration_names_a_plugin_and_what_is_locked_is_meant(lab: Lab, web: Web) -> None:
    web.publish("1.0.0")
    config = configured(lab, web, 'install = ["echo@^1"]')
    token = {f"VCONNECT_TOKEN_127_0_0_1_{web.port}": "SECRET"}
    with Serve(lab, "--config", config, environ=token) as host:
        host.wait_until("echo", "Running")
        assert version(host) == "1.0.0"
    web.publish("1.1.0")
    web.asked.clear()
    # Nothing is asked for what was done before, nor on another machine with this lock file.
    with Serve(lab, "--config", config, environ=token) as host:
        host.wait_until("echo", "Running")
        assert web.asked == []
        assert version(host) == "1.0.0"
        assert "SECRET" not in host.ask("search").stdout
        assert web.authorized == {"Bearer SECRET"}
        assert host.ask("upgrade", "echo").stdout == "echo 1.0.0 → 1.1.0 took over\n"
        assert "SECRET" not in host.log.read_text()
    assert "SECRET" not in (lab.directory / "vconnect.lock").read_text()


async def test_a_new_version_that_does_not_start_leaves_the_old_one(lab: Lab, web: Web) -> None:
    web.publish("1.0.0")
    async with lab.manager(sources={web.address: SourceOptions(index=True)}) as runtime:
        await runtime.packages.install(["echo"])
        pid = runtime.summary("echo").pid
        web.publish("1.1.0", "sys.exit('no token')")
        (change,) = await runtime.packages.upgrade(["echo"])
        assert (change.result, change.after) == ("failed", "1.0.0")
        assert change.reason.startswith("1.1.0 did not get ready: ")
        assert runtime.summary("echo").pid == pid


async def test_consent_is_asked_for_as_for_any_other_source(lab: Lab, web: Web) -> None:
    web.publish("1.0.0", permissions=["log"])
    async with lab.manager(sources={web.address: SourceOptions(index=True)}) as runtime:
        (change,) = await runtime.packages.install(["echo"])
        assert (change.code, change.permissions) == ("consent_required", ("log",))
        await runtime.packages.install(["echo"], grant=["log"])
        web.publish("1.1.0", permissions=["log", "plugin.call"])
        (row,) = await runtime.packages.outdated()
        assert row.reason == "it asks for permissions: plugin.call"
        (change,) = await runtime.packages.upgrade(["echo"])
        assert (change.code, change.after) == ("consent_required", "1.1.0")
        (change,) = await runtime.packages.upgrade(["echo"], grant=["*"])
        assert change.result == "switched"


async def test_the_library_installs_by_name_too(lab: Lab, web: Web) -> None:
    web.publish("1.0.0")
    async with lab.manager(sources={web.address: SourceOptions(index=True)}) as runtime:
        assert (await runtime.install_from_url("echo@^1")).name == "echo"
        found = await runtime.packages.info("echo")
        assert [one.version for one in found.versions] == ["1.0.0"]
        assert [one.version for one in found.installed] == ["1.0.0"]
        assert (await runtime.packages.search("ech")).total == 1
