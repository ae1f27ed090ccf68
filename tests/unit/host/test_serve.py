"""A host in the foreground, without plugins: what it tells, and what it ends with."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.lab import Lab, until

from vconnect import PluginRuntimeManager
from vconnect.errors import ConfigError, SocketError
from vconnect.host import serve as module
from vconnect.host.serve import serve
from vconnect.host.surroundings import check_paths
from vconnect.host.systemd import Notifier
from vconnect.settings.load import load_settings
from vconnect.settings.model import Settings
from vconnect.settings.source import SettingsSource
from vconnect.sockets.private_socket import bind_private_socket


class ServiceManager:
    """What systemd would hear."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._socket.setblocking(False)
        self.environ = {"NOTIFY_SOCKET": str(path)}

    def close(self) -> None:
        self._socket.close()

    async def next(self) -> str:
        async with asyncio.timeout(10):
            data = await asyncio.get_running_loop().sock_recv(self._socket, 4096)
        return data.decode()

    def all(self) -> list[str]:
        heard = []
        while True:
            try:
                heard.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return heard


@pytest.fixture
def systemd(lab: Lab) -> Iterator[ServiceManager]:
    made = ServiceManager(lab.directory / "notify")
    yield made
    made.close()


def settings(lab: Lab, **options: Any) -> Settings:
    given = {"plugin_dir": str(lab.plugins), "socket_path": str(lab.socket), "cgroup": "off"}
    return load_settings(overrides=given | options)


def worked(manager: PluginRuntimeManager, notifier: Notifier) -> Coroutine[Any, Any, None]:
    return module._work(manager, notifier, module._Reloads(manager, notifier))


# --- the work --------------------------------------------------------------------------------


async def test_the_service_manager_hears_of_begin_and_end(lab, systemd):
    manager = PluginRuntimeManager(settings(lab))
    work = asyncio.create_task(worked(manager, Notifier(systemd.environ)))
    assert await systemd.next() == "READY=1\nSTATUS=0 of 0 plugin(s) running"
    assert Path(manager.settings.admin_socket).exists()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert await systemd.next() == "STOPPING=1\nSTATUS=stopping the plugins"
    assert not lab.socket.exists()
    assert not Path(manager.settings.admin_socket).exists()


async def test_what_stays_is_no_work_for_the_garbage_collector(lab, systemd):
    manager = PluginRuntimeManager(settings(lab))
    work = asyncio.create_task(worked(manager, Notifier(systemd.environ)))
    await systemd.next()
    assert gc.get_freeze_count() > 1000
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert gc.get_freeze_count() == 0


async def test_a_hangup_waits_until_the_host_is_open(lab, systemd, caplog):
    caplog.set_level("INFO")
    manager = PluginRuntimeManager(settings(lab), source=SettingsSource(overrides={}))
    reloads = module._Reloads(manager, Notifier(systemd.environ))
    reloads.wish()
    await asyncio.sleep(0)
    assert "reload" not in caplog.text
    work = asyncio.create_task(module._work(manager, Notifier(systemd.environ), reloads))
    await until(lambda: "audit: reload by a signal" in caplog.text)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work


async def test_signs_of_life_come_until_the_end(lab, systemd):
    environ = systemd.environ | {"WATCHDOG_USEC": "2000"}
    manager = PluginRuntimeManager(settings(lab))
    work = asyncio.create_task(worked(manager, Notifier(environ)))
    heard = [await systemd.next() for _ in range(5)]
    assert heard.count("WATCHDOG=1") >= 3
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert systemd.all()[-1].startswith("STOPPING=1")


async def test_the_loss_of_a_required_plugin_is_the_end(lab, systemd, caplog):
    manager = PluginRuntimeManager(settings(lab))
    work = asyncio.create_task(worked(manager, Notifier(systemd.environ)))
    assert (await systemd.next()).startswith("READY=1")
    manager.required_lost.set_result("important")
    async with asyncio.timeout(10):
        await work
    assert "plugin important is required and in a crash loop" in caplog.text


async def test_an_error_at_the_start_is_raised_and_leaves_nothing(lab, systemd):
    lab.plugins.write_text("no directory")
    manager = PluginRuntimeManager(settings(lab, state_dir=str(lab.directory / "state")))
    with pytest.raises(Exception, match=r"plugins"):
        await worked(manager, Notifier(systemd.environ))
    assert not any(message.startswith("READY=1") for message in systemd.all())
    assert not lab.socket.exists()


# --- the whole of it -------------------------------------------------------------------------


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(path) == 0


def interrupted_once_it_serves(path: str) -> threading.Thread:
    """Send this process a SIGTERM as soon as the administration socket answers."""

    def work() -> None:
        until = time.monotonic() + 10
        while not _answers(path) and time.monotonic() < until:
            time.sleep(0.002)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


@pytest.fixture
def own_log(monkeypatch: pytest.MonkeyPatch) -> Iterator[logging.Logger]:
    """The package's log, which `serve` sets up anew."""
    log = logging.getLogger("vconnect")
    before = log.handlers, log.propagate, log.level
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    yield log
    log.handlers, log.propagate = before[0], before[1]
    log.setLevel(before[2])


def test_a_signal_ends_it_with_zero(lab, own_log, capfd):
    chosen = settings(lab, uvloop=False)
    thread = interrupted_once_it_serves(chosen.admin_socket)
    assert serve(chosen) == 0
    thread.join()
    assert own_log.handlers == []
    assert "received SIGTERM: stopping plugins" in capfd.readouterr().err


def test_a_socket_that_another_host_holds_is_an_error(lab, own_log):
    chosen = settings(lab, uvloop=False)
    held = bind_private_socket(lab.socket)
    with contextlib.closing(held), pytest.raises(SocketError, match="serves"):
        serve(chosen)
    assert own_log.handlers == []


@pytest.mark.parametrize("key", ["plugin_dir", "state_dir", "log_dir", "socket_path"])
def test_a_directory_that_others_can_change_is_an_error(lab, own_log, key):
    dangerous = lab.directory / "shared"
    dangerous.mkdir()
    dangerous.chmod(0o777)
    path = dangerous / ("x.sock" if key == "socket_path" else "x")
    chosen = msgspec.structs.replace(settings(lab, uvloop=False), **{key: str(path)})
    with pytest.raises(ConfigError, match=f"plugins.{key} is .*shared can be changed by everybody"):
        serve(chosen)
    assert own_log.handlers == []


def test_who_must_may_start_all_the_same(lab, caplog):
    lab.directory.chmod(0o777)
    with pytest.raises(ConfigError, match="insecure_paths = true"):
        check_paths(settings(lab))
    check_paths(msgspec.structs.replace(settings(lab), insecure_paths=True))
    assert "plugins.plugin_dir is not safe" in caplog.text


@pytest.mark.parametrize(("debug", "level"), [(False, logging.INFO), (True, logging.DEBUG)])
def test_the_log_has_the_level_that_is_asked_for(own_log, debug, level, capfd):
    with module._host_log(level):
        own_log.debug("in detail")
        own_log.info("in general")
    heard = capfd.readouterr().err
    assert ("in detail" in heard) is debug
    assert "in general" in heard


def test_a_host_without_standard_error_serves_all_the_same(own_log, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    before = list(own_log.handlers)
    with module._host_log(logging.INFO):
        own_log.info("nobody hears it")
    assert own_log.handlers == before


def test_a_loop_that_cannot_wait_for_its_threads_is_closed_with_a_warning(caplog):
    class Short(asyncio.Runner):
        def close(self) -> None:
            super().close()
            raise RuntimeError("can't start new thread")

    runner = Short()
    runner.get_loop()
    module._close(runner)
    assert "can't start new thread" in caplog.text
