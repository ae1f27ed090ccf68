"""The command line as a process: what it loads, its version, closed pipes and Ctrl-C."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside, short_directory

from vconnect.logs.ring import LogRing

VCONNECT = (sys.executable, "-m", "vconnect")

LOADED = """
import sys
from vconnect.cli.boundary import run
from vconnect.cli.root import root
code = run(root, sys.argv[1:])
print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


def vconnect(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VCONNECT, *arguments], capture_output=True, text=True, timeout=30, check=False, **options
    )


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("list", "--help"), ()])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", LOADED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("Usage: ")
    loaded = done.stderr
    for heavy in ("aiohttp", "rich", "asyncio", "uvloop", "multiprocessing", "textual"):
        assert f"'{heavy}'" not in loaded


def test_help_answers_at_once() -> None:
    def took() -> float:
        began = time.perf_counter()
        assert vconnect("--help").returncode == 0
        return time.perf_counter() - began

    # The best of several. It is about 0.1 s; the bound is only for what nobody would wait for.
    assert min(took() for _ in range(5)) < 1.0


def test_every_command_has_help() -> None:
    listing = vconnect("--help").stdout.partition("Commands:")[2]
    commands = [line.split()[0] for line in listing.splitlines() if line.strip()]
    assert commands == sorted(
        [
            "bench",
            "check",
            "config",
            "dashboard",
            "dev",
            "disable",
            "doctor",
            "emit",
            "enable",
            "index",
            "info",
            "install",
            "keygen",
            "list",
            "logs",
            "man",
            "new",
            "outdated",
            "pack",
            "release",
            "reload",
            "rescan",
            "restart",
            "rollback",
            "schema",
            "search",
            "serve",
            "sign",
            "start",
            "status",
            "stop",
            "tail",
            "top",
            "trust",
            "trusted",
            "ui",
            "uninstall",
            "untrust",
            "upgrade",
            "verify",
            "why",
        ]
    )


def test_the_version_is_told() -> None:
    done = vconnect("--version")
    assert done.returncode == 0
    assert done.stdout.split()[0] == "vconnect"
    assert len(done.stdout.split()) == 2


def test_a_closed_pipe_is_quiet() -> None:
    with served_beside(FakeManager(plugin_summary())) as path:
        for arguments in (["list"], ["list", "--json"], ["status", "nobody", "--json"]):
            reading, writing = os.pipe()
            os.close(reading)
            try:
                done = subprocess.run(
                    [*VCONNECT, "--admin", str(path), *arguments],
                    stdout=writing,
                    stderr=subprocess.PIPE,
                    timeout=30,
                    check=False,
                )
            finally:
                os.close(writing)
            assert done.stderr == b""
            assert done.returncode == 1


def test_json_is_utf8_in_any_locale() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    with served_beside(FakeManager(plugin_summary(reason="名前"))) as path:
        done = subprocess.run(
            [*VCONNECT, "list", "--json", "--admin", str(path)],
            env=environment,
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert json.loads(done.stdout)["plugins"][0]["reason"] == "名前"


def test_a_table_prints_in_any_locale() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    with served_beside(FakeManager(plugin_summary(why="名前"))) as path:
        done = vconnect("list", "--admin", str(path), env=environment)
    assert done.returncode == 0
    assert r"\u540d\u524d" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_told_once(unbuffered: str) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*VCONNECT, "--version"],
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to stdout: No space left on device\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("why", "example")])
def test_a_full_disk_is_told_in_the_same_words(arguments: tuple[str, ...]) -> None:
    with served_beside(FakeManager(plugin_summary())) as path, Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*VCONNECT, *arguments, "--admin", str(path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: cannot write to stdout: No space left on device\n"


def closed(redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command with a descriptor closed."""
    command = f"{shlex.join([*VCONNECT, *arguments])} {redirection}"
    return subprocess.run(
        ["/bin/sh", "-c", command], capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize(
    "command",
    [
        "--version",
        "--help",
        "list",
        "list --json",
        "status",
        "status example",
        "status --json",
        "why example",
        "logs example",
        "logs example --json",
        "doctor",
        "top",
        "top --json",
        "emit e.ok {}",
        "config get example",
        "start example",
        "stop example",
        "restart example",
        "restart --all --json",
        "list --versions example",
        "rescan",
        "trusted",
        "check .",
        "schema list",
        "man",
    ],
)
def test_a_closed_stdout_is_like_a_closed_pipe(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = FakeManager(plugin_summary())
    manager.says("example", "a line")
    with served_beside(manager) as path:
        monkeypatch.setenv("VCONNECT_ADMIN", str(path))
        done = closed(">&-", *command.split())
    assert (done.returncode, done.stderr) == (1, "")


def test_a_closed_stdin_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_beside(FakeManager(plugin_summary())) as path:
        monkeypatch.setenv("VCONNECT_ADMIN", str(path))
        done = closed("<&-", "emit", "e.ok", "-")
    assert done.returncode == 2
    assert "not valid JSON" in done.stderr


def test_a_closed_stderr_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    with served_beside(FakeManager(plugin_summary())) as path:
        monkeypatch.setenv("VCONNECT_ADMIN", str(path))
        done = closed("2>&-", "list", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["plugins"]


BEGUN = """
import sys
from vconnect.cli.main import main
print(flush=True)
main()
"""


@pytest.mark.parametrize("after_s", [0.0, 0.03, 0.06, 0.09, 0.12, 0.16, 0.2, 0.3])
def test_ctrl_c_is_never_lost(after_s: float) -> None:
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as deaf:
        path = directory / "admin.sock"
        deaf.bind(str(path))
        deaf.listen()
        with subprocess.Popen(
            [sys.executable, "-c", BEGUN, "stop", "example", "--admin", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(after_s)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
            # At the very first, it is Python that ends, by the signal.
            assert process.returncode in ((130, -signal.SIGINT) if not after_s else (130,))
            assert b"ignored" not in err


def test_ctrl_c_in_a_waiting_command_is_quiet() -> None:
    with short_directory() as directory, socket.socket(socket.AF_UNIX) as deaf:
        path = directory / "admin.sock"
        deaf.bind(str(path))
        deaf.listen()
        deaf.settimeout(20)
        with subprocess.Popen(
            [*VCONNECT, "stop", "example", "--admin", str(path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            connection, _ = deaf.accept()
            with connection:
                connection.settimeout(20)
                assert connection.recv(4) == b"POST"
                process.send_signal(signal.SIGINT)
                out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_follow_shows_everything_once_until_ctrl_c() -> None:
    manager = FakeManager(plugin_summary())
    for n in range(10):
        manager.says("example", f"old {n}")
    with served_beside(manager) as path:
        command = [*VCONNECT, "logs", "example", "-n", "2", "-f", "--json", "--admin", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            seen = [json.loads(process.stdout.readline()) for _ in range(2)]
            for count in (1, 2, 999, 1, 1000):  # the ring holds 1,000
                for _ in range(count):
                    manager.says("example", "new")
                seen += [json.loads(process.stdout.readline()) for _ in range(count)]
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
    assert [record["seq"] for record in seen] == [*range(9, 2014)]
    assert (process.returncode, out, err.strip()) == (130, b"", b"")


def test_follow_ends_quietly_with_its_reader() -> None:
    manager = FakeManager(plugin_summary())
    for n in range(1000):
        manager.says("example", f"{n} " + "x" * 200)
    with served_beside(manager) as path:
        command = [*VCONNECT, "logs", "example", "-n", "1000", "-f", "--admin", str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.wait(20) == 1
            assert process.stderr.read() == b""


def test_follow_tells_what_it_missed_and_when_all_is_new() -> None:
    manager = FakeManager(plugin_summary())
    manager.says("example", "first")
    with served_beside(manager) as path:
        command = [*VCONNECT, "logs", "example", "-f", "--admin", str(path)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert process.stdout.readline().endswith(" INFO  first\n")
            with manager.lock:
                for n in range(1500):
                    manager.says("example", f"flood {n}")
            assert (
                process.stderr.readline() == "500 lines were discarded before they could be shown\n"
            )
            assert process.stdout.readline().endswith(" INFO  flood 500\n")
            with manager.lock:
                manager.rings["example"] = LogRing(10)
                manager.says("example", "another host")
            assert process.stderr.readline() == "the plugin's log has been reset\n"
            *_, last = [process.stdout.readline() for _ in range(1000)]
            assert last.endswith(" INFO  another host\n")
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)


def test_debug_prints_the_traceback(tmp_path: Path) -> None:
    arguments = ("list", "--admin", str(tmp_path / "none.sock"))
    assert "Traceback" not in vconnect(*arguments).stderr
    done = vconnect("--debug", *arguments)
    assert done.returncode == 5
    assert "Traceback" in done.stderr


def test_no_secret_of_the_surroundings_is_told(tmp_path: Path) -> None:
    environment = {**os.environ, "API_TOKEN": "hunter2-hunter2"}
    for arguments in (("list",), ("--debug", "list"), ("list", "--json")):
        path = str(tmp_path / "none.sock")
        done = vconnect("--admin", path, *arguments, env=environment)
        assert done.returncode == 5
        assert "hunter2" not in done.stdout + done.stderr
