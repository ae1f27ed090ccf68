"""The command line as a process: what it loads, its version, closed pipes and Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_manager import FakeManager, Summary, served_beside, short_directory

VCONNECT = (sys.executable, "-m", "vconnect")

LOADED = """
import sys
from vconnect.cli.boundary import run
from vconnect.cli.root import root
code = run(root, sys.argv[1:])
print(sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


def vconnect(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VCONNECT, *arguments], capture_output=True, text=True, timeout=30, check=False, **options
    )


@pytest.mark.parametrize("arguments", [("--help",), ("serve", "--help"), ("list", "--help"), ()])
def test_help_loads_nothing_heavy(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", LOADED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.startswith("Usage: ")
    loaded = done.stderr
    for heavy in ("aiohttp", "rich", "asyncio", "uvloop", "multiprocessing"):
        assert f"'{heavy}'" not in loaded


def test_help_answers_at_once() -> None:
    def took() -> float:
        began = time.perf_counter()
        assert vconnect("--help").returncode == 0
        return time.perf_counter() - began

    # The best of several: a busy machine may be slow at any one of them.
    assert min(took() for _ in range(5)) < 0.15


def test_every_command_has_help() -> None:
    listing = vconnect("--help").stdout.partition("Commands:")[2]
    commands = [line.split()[0] for line in listing.splitlines() if line.strip()]
    assert commands == sorted(
        ["bench", "emit", "list", "new", "pack", "restart", "serve", "start", "status", "stop"]
    )


def test_the_version_is_told() -> None:
    done = vconnect("--version")
    assert done.returncode == 0
    assert done.stdout.split()[0] == "vconnect"
    assert len(done.stdout.split()) == 2


def test_a_closed_pipe_is_quiet() -> None:
    with served_beside(FakeManager(Summary(name="example"))) as path:
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
    with served_beside(FakeManager(Summary(name="example", reason="名前"))) as path:
        done = subprocess.run(
            [*VCONNECT, "list", "--json", "--admin", str(path)],
            env=environment,
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert json.loads(done.stdout)[0]["reason"] == "名前"


def test_a_table_prints_in_any_locale() -> None:
    environment = {**os.environ, "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    with served_beside(FakeManager(Summary(name="example", reason="名前"))) as path:
        done = vconnect("list", "--admin", str(path), env=environment)
    assert done.returncode == 0
    assert r"\u540d\u524d" in done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*VCONNECT, "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "error: No space left on device\n"


def test_a_closed_stdout_is_no_fault() -> None:
    command = f"{sys.executable} -m vconnect --version >&-"
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


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


def test_debug_prints_the_traceback(tmp_path: Path) -> None:
    arguments = ("list", "--admin", str(tmp_path / "none.sock"))
    assert "Traceback" not in vconnect(*arguments).stderr
    done = vconnect("--debug", *arguments)
    assert done.returncode == 3
    assert "Traceback" in done.stderr


def test_no_secret_of_the_surroundings_is_told(tmp_path: Path) -> None:
    environment = {**os.environ, "API_TOKEN": "hunter2-hunter2"}
    for arguments in (("list",), ("--debug", "list"), ("list", "--json")):
        path = str(tmp_path / "none.sock")
        done = vconnect("--admin", path, *arguments, env=environment)
        assert done.returncode == 3
        assert "hunter2" not in done.stdout + done.stderr
