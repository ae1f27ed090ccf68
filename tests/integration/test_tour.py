"""What ``make run`` shows a newcomer."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import toolchains
from tests.support.serving import wait_until

TOUR = Path(__file__).parents[2] / "examples" / "demo.py"
VCONNECT = (sys.executable, "-m", "vconnect")
DEADLINE_S = 50.0


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp")).resolve()
    yield made
    shutil.rmtree(made)


def wait_for_line(process: subprocess.Popen[bytes], file: Path, text: str) -> str:
    end = time.monotonic() + DEADLINE_S
    while text not in (said := file.read_text()):
        assert process.poll() is None, said
        assert time.monotonic() < end, said
        time.sleep(0.05)
    return said


def ask(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*VCONNECT, "--admin", str(directory / "admin.sock"), *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.mark.slow
def test_the_tour_shows_real_plugins_at_work(directory: Path) -> None:
    output = directory / "output"
    with output.open("wb") as file:
        tour = subprocess.Popen(
            [sys.executable, TOUR, directory],
            stdout=file,
            stderr=file,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        said = wait_for_line(tour, output, "Your turn")
        assert "Hello! How can I help?" in said
        assert 'payload now {"message_id":"1"' in said
        assert '"content":"what the h***"' in said
        assert "stopped by word-filter" in said
        assert "WHAT THE H***" in said or not toolchains.runs("cargo")

        plugins = {
            p["name"]: p for p in json.loads(ask(directory, "list", "--json").stdout)["plugins"]
        }
        assert {"word-filter", "auto-reply"} <= set(plugins)
        assert {plugin["status"] for plugin in plugins.values()} == {"Running"}
        os.kill(plugins["auto-reply"]["pid"], signal.SIGKILL)
        wait_until(lambda: "killed by SIGKILL" in ask(directory, "list").stdout)
        assert "auto-reply is Running" in ask(directory, "restart", "auto-reply").stdout
        assert "killed by SIGKILL" not in ask(directory, "list").stdout  # that is past now

        os.killpg(tour.pid, signal.SIGINT)  # as Ctrl-C does, to everybody in the terminal
        assert tour.wait(DEADLINE_S) == 0
    finally:
        if tour.poll() is None:
            os.killpg(tour.pid, signal.SIGTERM)
            tour.wait(DEADLINE_S)
    assert ask(directory, "list").returncode == 5
    assert "Traceback" not in output.read_text()
