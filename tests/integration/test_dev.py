"""``vconnect dev`` on a terminal: events with answers, a restart on save, and breakpoint()."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.edge_host import DEADLINE, VCONNECT
from tests.support.lab import new_lab

CODE = """
from vconnect import Plugin, on, run_plugin

class Greeter(Plugin):
    plugin_no = "greeter"
    version = "0.1.0"

    @on("message.incoming")
    async def answer(self, ctx):
        if ctx.get("stop"):
            breakpoint()
        ctx.reply({"text": "VERSION"})

run_plugin(Greeter)
"""


class Terminal:
    """The command on a terminal of its own."""

    def __init__(self, directory: Path) -> None:
        self._leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [*VCONNECT, "dev", str(directory)],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
        )
        os.close(follower)
        self.seen = ""

    def wait_for(self, pattern: str) -> re.Match[str]:
        end = time.monotonic() + DEADLINE
        while (found := re.search(pattern, self.seen)) is None:
            assert time.monotonic() < end, self.seen
            if select.select([self._leader], [], [], 0.1)[0]:
                self.seen += os.read(self._leader, 4096).decode("utf-8", "replace")
        return found

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def close(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            return self.process.wait(DEADLINE)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self._leader)


@pytest.fixture
def source() -> Iterator[Path]:
    with new_lab() as lab:
        directory = lab.directory / "greeter"
        directory.mkdir()
        (directory / "plugin.py").write_text(CODE.replace("VERSION", "one"))
        yield directory


def emit(admin: str, payload: str) -> subprocess.Popen[bytes]:
    command = [*VCONNECT, "emit", "message.incoming", payload, "--json", "--admin", admin]
    return subprocess.Popen(command, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_a_plugin_is_developed_in_the_terminal(source: Path) -> None:
    terminal = Terminal(source)
    try:
        terminal.wait_for(r"greeter 0\.1\.0 runs \(pid \d+\)")
        admin = terminal.wait_for(r"--admin (\S+)")[1]
        terminal.wait_for(r"Dashboard: http://127\.0\.0\.1:\d+/#/login/")
        with emit(admin, "{}") as sending:
            sending.communicate(timeout=DEADLINE)
        terminal.wait_for(r'message\.incoming → [\d.]+ ms \{"text": "one"\}')

        # At a breakpoint nothing runs out, and the terminal is the debugger's.
        with emit(admin, '{"stop": true}') as sending:
            terminal.wait_for(r"\(Pdb\)")
            terminal.type("p 6 * 7\n")
            terminal.wait_for("42")
            terminal.type("c\n")
            sending.communicate(timeout=DEADLINE)
            assert sending.returncode == 0

        (source / "plugin.py").write_text(CODE.replace("VERSION", "two"))
        terminal.wait_for(r"saved: plugin\.py; starting again")
        terminal.seen = ""
        terminal.wait_for("connected to")
        with emit(admin, "{}") as sending:
            sending.communicate(timeout=DEADLINE)
        terminal.wait_for('"text": "two"')
    finally:
        code = terminal.close()
    assert code == 130
    assert "Traceback" not in terminal.seen


@pytest.fixture
def without_terminal(source: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The command with its output in a file, and the file."""
    output = source.parent / "output"
    with output.open("w") as file:
        command = subprocess.Popen(
            [*VCONNECT, "dev", str(source)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    try:
        yield command, output
    finally:
        command.terminate()
        with suppress(subprocess.TimeoutExpired):
            command.wait(DEADLINE)
        with suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)
        command.wait()


def wait_in(output: Path, pattern: str) -> re.Match[str]:
    end = time.monotonic() + DEADLINE
    while (found := re.search(pattern, output.read_text())) is None:
        assert time.monotonic() < end, output.read_text()
        time.sleep(0.05)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 130)]
)
def test_a_signal_ends_it_in_order(
    without_terminal: tuple[subprocess.Popen[str], Path], number: int, code: int
) -> None:
    command, output = without_terminal
    pid = int(wait_in(output, r"runs \(pid (\d+)\)")[1])
    place = Path(wait_in(output, r"--admin (\S+)")[1]).parent
    command.send_signal(number)
    assert command.wait(DEADLINE) == code
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert not place.exists()
    assert "Traceback" not in output.read_text()


@pytest.mark.slow
def test_a_plugin_that_has_ended_is_told_so(
    without_terminal: tuple[subprocess.Popen[str], Path], source: Path
) -> None:
    _, output = without_terminal
    admin = wait_in(output, r"--admin (\S+)")[1]
    (source / "plugin.py").write_text("def (")
    wait_in(output, "the plugin has ended with exit code 1; save a file to start it again")
    with emit(admin, "{}") as sending:
        sending.communicate(timeout=DEADLINE)
    wait_in(output, r"message\.incoming: the plugin is not running")
    (source / "plugin.py").write_text("import os; os.kill(os.getpid(), 9)")
    wait_in(output, "the plugin has ended by SIGKILL; save")
