"""``why``: each way in which a plugin can be broken has a line of its own, with real processes."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import PATIENCE_S, Lab

from vconnect import PluginRuntimeManager
from vconnect.errors import PluginError, UnknownPluginError

Break = Callable[[Lab], object]
Do = Callable[[PluginRuntimeManager], Awaitable[object]]

SILENT = """
import socket
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[sys.argv.index("--socket") + 1])
time.sleep(60)
"""
SLOW = "serve(lambda event: time.sleep(1) or {'status': 'ok'}, capabilities=['e'])"
CRASHES = "serve(lambda event: os.abort() if event['payload'] == 'bad' else {'status': 'ok'})"
UNASKED = "serve(capabilities=['mesage.incoming'])"
DISABLED = "serve_native(disable='no GPU')"
HOG = "held = bytearray(b'x') * (80 << 20)\nserve()"
HANGS = "serve_native(lambda event: time.sleep(60))"
UNREADY = "serve_native(ready=False)"
CLOSES = """
connection = Connection()
connection.greet()
connection.close()
time.sleep(60)
"""
BIG = """
connection = Connection()
connection.greet(capabilities=["e"])
for event in connection.events():
    connection.send({"status": "ok", "data": "x" * (5 << 20)})
    time.sleep(0.2)
    connection.send({"status": "ok"})
    connection.send({"status": "ok"})
"""
HTTP = SILENT.replace("time.sleep(60)", "connection.sendall(b'GET / HTTP/1.1'); time.sleep(60)")
DAEMON = """
if os.fork():
    os._exit(0)
time.sleep(60)
"""
FLOODS = """
while True:
    print("tick", file=sys.stderr, flush=True)
    time.sleep(0.001)
"""
ERRORS = "serve(lambda event: {'status': 'error', 'message': 'no luck'})"
LAZY = "serve(lambda event: time.sleep(0.2) or {'status': 'ok'}, capabilities=['e'])"


async def nothing(_: PluginRuntimeManager) -> None:
    """The start alone is enough."""


async def many(manager: PluginRuntimeManager) -> None:
    for _ in range(12):
        await manager.emit("e", {}, timeout=0.1)


async def poison(manager: PluginRuntimeManager) -> None:
    for _ in range(2):
        await until(lambda: manager.summary("a").serving)
        with suppress(PluginError):
            await manager.request("a", "e", "bad")
    await until(lambda: manager.summary("a").serving and manager.summary("a").quarantine)


async def flood(manager: PluginRuntimeManager) -> None:
    for _ in range(200):
        manager.notify("e", {"x": 1})


async def hang(manager: PluginRuntimeManager) -> None:
    with suppress(PluginError):
        await manager.request("a", "e", 1, timeout=0.1)


async def message(manager: PluginRuntimeManager) -> None:
    await manager.emit("message.incoming", {})
    await asyncio.sleep(5.1)  # what has just been started is not suspected


async def two(manager: PluginRuntimeManager) -> None:
    for _ in range(2):
        await manager.emit("e", {})


async def break_it(manager: PluginRuntimeManager) -> None:
    program = Path(manager.summary("a").path) / "a"
    program.write_text(f"#!{sys.executable}\nthis is no Python\n")
    with suppress(PluginError):
        await manager.restart_plugin("a")


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.02)


def bad_manifest(lab: Lab) -> None:
    (lab.plugin("a", "serve()") / "plugin.json").write_text('{"name": "a", "priority": "high"}')


def interpreter(lab: Lab) -> None:
    (lab.plugin("a", "") / "a").write_text("#!/usr/bin/python9\n")


def not_executable(lab: Lab) -> None:
    (lab.plugin("a", "") / "a").chmod(0o644)


def foreign(lab: Lab) -> None:
    head = b"\x7fELF\x02\x01\x01" + b"\0" * 9 + b"\x02\0\xb7\0" + b"\0" * 100
    (lab.plugin("a", "") / "a").write_bytes(head)


def requires(lab: Lab) -> None:
    lab.plugin("db", "serve()")
    lab.plugin("a", "serve()", requires=["db"])


def schema(lab: Lab) -> None:
    rate = {"type": "object", "properties": {"rate": {"type": "integer"}}}
    lab.plugin("a", "serve()", config={"rate": "much"}, config_schema=rate)


def cycle(lab: Lab) -> None:
    lab.plugin("a", "serve()", requires=["b"])
    lab.plugin("b", "serve()", requires=["a"])


def plugin(code: str, **manifest: Any) -> Break:
    return lambda lab: lab.plugin("a", code, **manifest)


async def stop_db(manager: PluginRuntimeManager) -> None:
    await manager.stop_plugin("a")
    await manager.stop_plugin("db", by="alice")
    with suppress(PluginError):
        await manager.start_plugin("a")


async def stop(manager: PluginRuntimeManager) -> None:
    await manager.stop_plugin("a", by="alice")


# What is done to a lab, what is done to its manager, the code, and what the line must match.
FAULTS: dict[str, tuple[Break, Do, str, str]] = {
    "a wrong manifest": (
        bad_manifest,
        nothing,
        "bad_manifest",
        r"bad manifest: .*plugin.json: priority: expected int, got str. "
        r"Next: mend it, then vconnect start a$",
    ),
    "a stop": (
        plugin("serve()"),
        stop,
        "stopped",
        r"stopped by alice, 1 s ago. Next: vconnect start a",
    ),
    "it cannot serve": (
        plugin(DISABLED),
        nothing,
        "cannot_serve",
        r"says that it cannot serve here: no GPU. Next: give it what it needs, then vconnect start",
    ),
    "no interpreter": (
        interpreter,
        nothing,
        "spawn_failed",
        r"cannot start: \S+/a/a asks for the interpreter /usr/bin/python9, which is not there",
    ),
    "not executable": (
        not_executable,
        nothing,
        "spawn_failed",
        r"cannot start: \S+/a/a is not executable. Next: chmod \+x \S+/a/a, then vconnect start a$",
    ),
    "another machine's": (
        foreign,
        nothing,
        "spawn_failed",
        r"cannot start: \S+/a/a is for linux-arm64, this machine is \S+. Next: install the package",
    ),
    "another plugin is down": (
        requires,
        stop_db,
        "waits_for",
        r"waits for db, which is stopped by alice. Next: vconnect start db",
    ),
    "it never connects": (
        plugin("time.sleep(60)"),
        nothing,
        "not_connected",
        r"did not connect within 1 s of its start \(1 try\); it printed nothing. Next: does it",
    ),
    "no handshake": (
        plugin(SILENT),
        nothing,
        "no_handshake",
        r"connected and sent no handshake within 1 s. Next: its first frame must be the handshake",
    ),
    "another name": (
        plugin("serve(plugin_no='b')"),
        nothing,
        "handshake_refused",
        r"handshake refused: .*it uses the name 'b', but was started as 'a'. Next: use",
    ),
    "a module is missing": (
        plugin("import tokens"),
        nothing,
        "exits",
        r"exits with code 1.*: No module named 'tokens'.*Next: add it to its dependencies",
    ),
    "its configuration": (
        plugin("print('greting: unknown key', file=sys.stderr); sys.exit(78)"),
        nothing,
        "config_refused",
        r"refuses its configuration: greting: unknown key. Next: mend \[plugins.config.a\], then",
    ),
    "a crash": (
        plugin("import ctypes\nctypes.string_at(0)"),
        nothing,
        "killed",
        r"killed by SIGSEGV.*Next: vconnect status a --crashes",
    ),
    "too much memory": (
        plugin(HOG),
        nothing,
        "memory_limit",
        r"ended at its memory limit.*: \d+ of 64 MiB. Next: raise memory_limit_bytes",
    ),
    "too slow": (
        plugin(SLOW),
        many,
        "circuit_open",
        r"circuit open: \d+ answers in a row came after .*; the next probe is in \d+ s",
    ),
    "an event that kills it": (
        plugin(CRASHES),
        poison,
        "quarantine",
        r"runs, but one event is in quarantine: e \w{8} crashed it twice "
        r"\(killed by SIGABRT.*\). Next: mend it",
    ),
    "a mistyped capability": (
        plugin(UNASKED),
        message,
        "never_asked",
        r'runs, but nobody asks it: it wants "mesage.incoming", which was never sent; '
        r"message.incoming was, 1 time. Next: mend its capabilities",
    ),
    "a full queue": (
        plugin(LAZY),
        flood,
        "queue_full",
        r"runs, but its queue is full: \d+ waiting, \d+ notifications dropped in the last minute",
    ),
    "a loop that is blocked": (
        plugin(HANGS),
        hang,
        "hung",
        r"hung and was replaced once: .*pings.* Next: move what blocks into a thread",
    ),
    "it is never ready": (
        plugin(UNREADY),
        nothing,
        "not_ready",
        r"connected, but not ready within 1 s. Next: see what it waits for: vconnect logs a",
    ),
    "it ends by itself": (
        plugin("sys.exit(0)"),
        nothing,
        "exits",
        r"exits with code 0 before it connected: it printed nothing. Next: it must connect to",
    ),
    "a source that is broken while it runs": (
        plugin("serve()"),
        break_it,
        "new_process_failed",
        r"runs, but its new process failed: .*SyntaxError: .*/a:2\); the old one serves. Next: "
        r".*logs a",
    ),
    "a schema": (
        schema,
        nothing,
        "config_refused",
        r"its configuration does not fit: rate: .*integer.* Next: set it in \[plugins.config.a\]",
    ),
    "a cycle": (
        cycle,
        nothing,
        "cycle",
        r"requires forms a cycle: .*→.* Next: change one of them, then vconnect start a",
    ),
    "it closes its connection": (
        plugin(CLOSES),
        nothing,
        "connection_ended",
        r"^its connection ended, and it has not connected again within 1 s. Next: it must keep",
    ),
    "a daemon": (
        plugin(DAEMON),
        nothing,
        "exits",
        r"exits with code 0 .*: it went into the background, but must run in the foreground",
    ),
    "a flood": (
        plugin(FLOODS),
        nothing,
        "not_connected",
        r"did not connect .*it printed last: tick. Next",
    ),
    "HTTP": (
        plugin(HTTP),
        nothing,
        "handshake_refused",
        r"handshake refused: it speaks HTTP, not the protocol",
    ),
    "errors": (
        plugin(ERRORS),
        two,
        "errors",
        r"runs, but 2 of 2 answers in the last minute were errors; the last: no luck. Next:",
    ),
    "too many errors": (
        plugin(ERRORS),
        many,
        "circuit_open",
        r"circuit open: 5 answers in a row were errors; the last: no luck.*; the next probe is in",
    ),
    "a frame that is too large": (
        plugin(BIG),
        two,
        "restarted",
        r"runs again after its end: .*its connection ended: frame of \d+ bytes; the limit is",
    ),
    "all is well": (
        plugin("serve(capabilities=['e'])"),
        many,
        "healthy",
        r"runs: .*, none passed over",
    ),
}


SERVING = (
    *("quarantine", "never_asked", "queue_full", "healthy", "new_process_failed", "errors"),
    "restarted",
)


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_fault_has_its_own_line(lab: Lab, fault: str) -> None:
    break_it, do, code, line = FAULTS[fault]
    break_it(lab)
    options: dict[str, Any] = {
        "handshake_timeout": 1.0,
        "max_notified": 20,
        "window": 1,
        "breaker_failures": 5,
        "start_timeout": 1.0,
        "heartbeat": 0.2,
        "restart": "on-failure",
        "restart_delay": 0.05,
        "restart_max_delay": 0.1,
        "crash_limit": 5,
        "memory_limit_bytes": 64 << 20,
    }
    async with lab.manager(**options) as manager:
        await manager.start_all()
        await do(manager)
        began = time.monotonic()
        while (why := manager.why("a")).code != code and time.monotonic() - began < PATIENCE_S / 2:
            await asyncio.sleep(0.05)
        assert why.code == code, why.in_words()
        assert re.search(line, why.in_words()), why.in_words()
        assert why.serving == (code in SERVING)


def test_no_two_faults_have_the_same_line() -> None:
    assert len({line for _, _, _, line in FAULTS.values()}) == len(FAULTS)


async def test_nobody_is_told_with_the_nearest_name(lab: Lab) -> None:
    lab.plugin("greeter", "serve()")
    async with lab.manager() as manager:
        await manager.discover_plugins()
        with pytest.raises(UnknownPluginError, match="greeter"):
            manager.why("gretter")


async def test_a_new_process_that_serves_ends_the_finding(lab: Lab) -> None:
    program = lab.plugin("a", "serve()") / "a"
    good = program.read_text()
    async with lab.manager() as manager:
        await manager.start_all()
        await break_it(manager)
        assert manager.why("a").code == "new_process_failed"
        program.write_text(good)
        await manager.restart_plugin("a")
        assert manager.why("a").code == "healthy"
