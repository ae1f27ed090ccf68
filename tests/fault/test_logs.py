"""Output that floods, misleads or cannot be written down: the host goes on, and says what is lost.

The lag of the event loop is measured while a flood lasts and printed (``pytest -rP`` shows it).
What is asserted is generous, since the machine may be busy with other things.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.disks import remount, small_disk
from tests.support.lab import ECHO, Lab, until
from tests.support.serving import wait_until

from vconnect import PluginRuntimeManager
from vconnect.cli.output import clean
from vconnect.logs.host_log import HostFormatter
from vconnect.logs.ring import RING_BYTES
from vconnect.logs.text import MAX_LINE_BYTES

pytestmark = [
    pytest.mark.both_loops,
    pytest.mark.skipif(sys.platform != "linux", reason="measures and limits by Linux' means"),
]

FLOOD_S = 2.0
MAX_P99_MS = 100.0
MAX_GROWTH_BYTES = 48 * 1024 * 1024
PATIENCE_S = 20.0

# Writes from a child, so that the plugin itself goes on answering while the pipe is full.
FLOODING = """
if os.fork() == 0:
    data = {data}
    while True:
        os.write({fd}, data)
serve()
"""


class Lag:
    """How late the loop wakes who asked to be woken."""

    def __init__(self) -> None:
        self._late: list[float] = []

    def percentile(self, percent: float) -> float:
        """In milliseconds."""
        ordered = sorted(self._late)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)] * 1000

    async def watch(self) -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.002)
            self._late.append(time.perf_counter() - began - 0.002)


@asynccontextmanager
async def measured(what: str) -> AsyncIterator[Lag]:
    lag = Lag()
    watch = asyncio.create_task(lag.watch())
    before, cpu = memory(), time.process_time()
    try:
        yield lag
    finally:
        watch.cancel()
        busy = (time.process_time() - cpu) / FLOOD_S
        print(
            f"{what}: lag p50 {lag.percentile(50):.2f} ms, p99 {lag.percentile(99):.2f} ms, "
            f"most {lag.percentile(100):.2f} ms; {busy:.0%} of a processor, "
            f"memory {(memory() - before) / 2**20:+.1f} MiB"
        )


def memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Write the host's log to nowhere: pytest would keep every line of a flood."""
    log = logging.getLogger("vconnect")
    level = log.level
    with Path(os.devnull).open("w") as nowhere:
        handler = logging.StreamHandler(nowhere)
        handler.setFormatter(HostFormatter(colored=False))
        log.addHandler(handler)
        log.propagate = False
        log.setLevel(logging.INFO)
        yield
        log.setLevel(level)
        log.propagate = True
        log.removeHandler(handler)


def was_told(runtime: PluginRuntimeManager, plugin: str) -> bool:
    """Tell whether the log says that lines were suppressed, if any were."""
    page = runtime.plugin_logs(plugin, lines=10_000)
    told = any(record.stream == "host" for record in page.records)
    return told or not runtime.summary(plugin).log_suppressed


async def answers(runtime: PluginRuntimeManager, plugin: str, seconds: float) -> int:
    """Ask a plugin again and again for so long, and return how often it answered."""
    end, count = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        assert await runtime.request(plugin, "e", count) == {"echo": count}
        count += 1
        await asyncio.sleep(0.001)
    return count


# --- floods ----------------------------------------------------------------------------------

FLOODS = {
    "short lines": 'b"x\\n" * 32768',
    "lines": '(b"x" * 79 + b"\\n") * 819',
    "errors": '(b"2024-05-06T07:08:09Z ERROR example: " + b"x" * 60 + b"\\n") * 650',
    "json": '(b\'{"level":"error","message":"lost","n":[1,2,{"a":"b"}]}\' + b"\\n") * 1100',
    "no newline": 'b"x" * 65536',
    "binary": "os.urandom(65536)",
    "escapes": '(b"\\x1b]0;owned\\x07\\x1b[2J\\x9b2J\\xe2\\x80\\xae" * 5 + b"\\n") * 500',
    "nested json": '(b"{\\"a\\":[" + b"[],"*5400 + b"0]}\\n") * 4',
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_is_bounded_and_counted(lab: Lab, kind: str) -> None:
    lab.plugin("flood", FLOODING.format(data=FLOODS[kind], fd=1))
    lab.plugin("quiet", ECHO)
    async with lab.manager(log_dir=lab.directory / "logs") as runtime:
        await runtime.start_all()
        before = memory()
        async with measured(kind) as lag:
            assert await answers(runtime, "quiet", FLOOD_S) > 10
            assert await runtime.request("flood", "e", 1) == {"echo": 1}
        grown = memory() - before
        await until(lambda: was_told(runtime, "flood"), "what was suppressed told")
        summary = runtime.summary("flood")
        page = runtime.plugin_logs("flood", lines=10_000)
    assert summary.status == "Running"
    assert summary.log_suppressed > 100 or kind in ("no newline", "nested json")
    assert lag.percentile(99) < MAX_P99_MS
    assert grown < MAX_GROWTH_BYTES
    assert sum(len(record.text) for record in page.records) < RING_BYTES
    for record in page.records:
        assert not set(record.text) & set("\x1b\x07\x9b\n\r")
    file = (lab.directory / "logs" / "flood.log").read_bytes()
    assert b"suppressed" in file or not summary.log_suppressed
    assert not set(file) & set(b"\x1b\x07")
    assert len(file) < 40 * FLOOD_S * 1024 * 1024


@pytest.mark.slow
async def test_many_floods_at_once(lab: Lab) -> None:
    for number in range(8):
        lab.plugin(f"flood{number}", FLOODING.format(data=FLOODS["lines"], fd=1 + number % 2))
    lab.plugin("quiet", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        async with measured("8 plugins of lines") as lag:
            # It is served, also on a busy machine.
            assert await answers(runtime, "quiet", FLOOD_S) > 5
        assert all(runtime.summary(f"flood{n}").log_suppressed for n in range(8))
    # Ten writers share the processors with the host, so nothing is said about the tail.
    assert lag.percentile(50) < MAX_P99_MS


@pytest.mark.parametrize("fd", [1, 2])
async def test_every_line_of_a_flood_is_written_or_counted(lab: Lab, fd: int) -> None:
    code = f"""
    for _ in range(1000):
        os.write({fd}, b"line\\n" * 1000)
    serve()
    """
    lab.plugin("flood", code)
    async with lab.manager(log_dir=lab.directory / "logs") as runtime:
        await runtime.start_all()
        await runtime.stop_plugin("flood")
        suppressed = runtime.summary("flood").log_suppressed
    written = (lab.directory / "logs" / "flood.log").read_text().splitlines()
    assert suppressed > 900_000
    assert suppressed + sum(line.endswith(" line") for line in written) == 1_000_000


@pytest.mark.slow
async def test_a_line_of_a_hundred_megabytes_is_cut_and_its_end_is_found(lab: Lab) -> None:
    code = """
    for _ in range(1600):
        os.write(1, b"x" * 65536)
    os.write(1, b"\\nthe end\\n")
    serve()
    """
    lab.plugin("endless", code)
    async with lab.manager(handshake_timeout=50.0) as runtime:
        before = memory()
        await runtime.start_all()
        assert memory() - before < MAX_GROWTH_BYTES
        await runtime.stop_plugin("endless")
        assert runtime.summary("endless").log_suppressed == 1
        records = runtime.plugin_logs("endless", lines=10_000).records
    said = [record.text for record in records if record.stream == "stdout"]
    assert said.pop() == "the end"
    assert said == ["x" * MAX_LINE_BYTES] * len(said)


async def test_the_last_words_of_a_flood_are_heard(lab: Lab) -> None:
    code = """
    sys.stderr.write("x" * 79 + "\\n")
    for _ in range(100):
        os.write(2, (b"y" * 79 + b"\\n") * 800)
    os.write(2, b"the disk is on fire\\n")
    sys.exit(3)
    """
    lab.plugin("dying", code)
    async with lab.manager() as runtime:
        await runtime.start_all()
        summary = runtime.summary("dying")
    assert summary.last_stderr[-1] == "the disk is on fire"
    assert "the disk is on fire" in summary.reason
    assert summary.log_suppressed > 1000


# --- what is said survives -------------------------------------------------------------------


async def test_lines_outlive_the_process_and_keep_their_numbers(lab: Lab) -> None:
    lab.plugin("chatty", 'print("ERROR here is", os.getpid(), flush=True)\n' + ECHO)
    async with lab.manager(log_dir=lab.directory / "logs") as runtime:
        await runtime.start_all()
        await until(lambda: runtime.plugin_logs("chatty").records)
        first = runtime.plugin_logs("chatty")
        await runtime.restart_plugin("chatty")
        await until(lambda: runtime.plugin_logs("chatty", after=first.next).records)
        both = runtime.plugin_logs("chatty", level="error").records
        assert [record.seq for record in both] == [1, 2]
        assert {record.level for record in both} == {"error"}
        assert both[0].text != both[1].text
        assert runtime.plugin_logs("chatty", after=first.next).records == both[1:]
    lines = (lab.directory / "logs" / "chatty.log").read_text().splitlines()
    assert [line.partition("Z ")[2] for line in lines if " stdout " in line] == [
        f"ERROR stdout {record.line()}" for record in both
    ]
    # Its lives are told there too, between its own lines.
    lives = [line.partition(" state  ")[2] for line in lines if " stdout " not in line]
    assert lives[0].startswith("generation 1 has started (pid ")
    assert "generation 2 takes over from 1" in lives
    assert lives[-1].startswith("stopped: ")


async def test_text_is_only_ever_text(lab: Lab) -> None:
    code = r"""
    sys.stderr.write("<script>[bold]\x1b]0;owned\x07 \u202eevil\n")
    sys.stderr.write('{"message": "\\u001b[31mred\\u0007", "key\\u001b": "\\u009b2J\\u202e"}\n')
    sys.stderr.flush()
    serve()
    """
    lab.plugin("evil", code)
    async with lab.manager(log_dir=lab.directory / "logs", env={"PYTHONUTF8": "1"}) as runtime:
        await runtime.start_all()
        await until(lambda: len(runtime.plugin_logs("evil").records) == 2)
        texts = [record.line() for record in runtime.plugin_logs("evil").records]
    assert texts[0] == "<script>[bold] \u202eevil"
    assert clean(texts[0]) == r"<script>[bold] \u202eevil"
    assert clean(texts[1]) == r"red key\x1b=\x9b2J\u202e"
    written = (lab.directory / "logs" / "evil.log").read_text()
    assert all(char.isprintable() or char == "\n" for char in written)


# --- disks -----------------------------------------------------------------------------------

TICKING = """
import threading
def tick():
    number = 0
    while True:
        number += 1
        print("tick", number, "x" * 200, flush=True)
        time.sleep(0.01)
threading.Thread(target=tick, daemon=True).start()
serve()
"""


class Told(logging.Handler):
    """What the host's log says about files."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())

    def count(self, words: str) -> int:
        return sum(words in line for line in self.lines)


@pytest.fixture
def told(_quiet: None) -> Iterator[Told]:
    log = logging.getLogger("vconnect.logs.files")
    handler = Told()
    log.addHandler(handler)
    yield handler
    log.removeHandler(handler)


async def ticks_on(runtime: PluginRuntimeManager, pid: int | None) -> None:
    """Check that the plugin still prints and answers, and is the same process."""
    last = runtime.plugin_logs("ticking").next
    await until(lambda: runtime.plugin_logs("ticking").next > last + 5, "more ticks")
    assert await runtime.request("ticking", "e", 1) == {"echo": 1}
    summary = runtime.summary("ticking")
    assert (summary.status, summary.pid, summary.reason) == ("Running", pid, "")


async def test_a_full_disk_changes_nothing_but_the_file(lab: Lab, told: Told) -> None:
    lab.plugin("ticking", TICKING)
    logs = lab.directory / "logs"
    with small_disk(logs):
        ballast = logs / "ballast"
        ballast.write_bytes(bytes(56 * 1024))
        async with lab.manager(log_dir=logs) as runtime:
            await runtime.start_all()
            pid = runtime.summary("ticking").pid
            await until(lambda: told.count("no space left"), "the full disk to be told")
            await ticks_on(runtime, pid)
            ballast.unlink()
            await until(lambda: told.count("writing log files in"), "the file to go on")
            await ticks_on(runtime, pid)
        assert (told.count("cannot be written"), told.count("lines are missing")) == (1, 1)
        lines = (logs / "ticking.log").read_text().splitlines()
        output = [line for line in lines if line.split()[2:3] == ["stdout"]]
        assert output[-1].split()[3:4] == ["tick"]
        assert lines[-1].split()[2:3] == ["state"]  # its end


async def test_a_read_only_disk_changes_nothing_but_the_file(lab: Lab, told: Told) -> None:
    lab.plugin("ticking", TICKING)
    logs = lab.directory / "logs"
    with small_disk(logs, "4m"):
        async with lab.manager(log_dir=logs) as runtime:
            await runtime.start_all()
            pid = runtime.summary("ticking").pid
            await until(lambda: (logs / "ticking.log").exists())
            remount(logs, "ro")
            await until(lambda: told.count("read-only"), "the disk to be told")
            await ticks_on(runtime, pid)
            remount(logs, "rw")
            await until(lambda: told.count("writing log files in"), "the file to go on")
            await ticks_on(runtime, pid)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
async def test_a_lost_permission_changes_nothing_but_the_file(lab: Lab, told: Told) -> None:
    lab.plugin("ticking", TICKING)
    logs = lab.directory / "logs"
    logs.mkdir(mode=0o500)
    async with lab.manager(log_dir=logs) as runtime:
        await runtime.start_all()
        pid = runtime.summary("ticking").pid
        await until(lambda: told.count("permission denied"), "the directory to be told")
        await ticks_on(runtime, pid)
        logs.chmod(0o700)
        await until(lambda: told.count("writing log files in"), "the file to go on")


async def test_a_deleted_directory_is_made_again_and_a_wrong_one_is_told(
    lab: Lab, told: Told
) -> None:
    lab.plugin("ticking", TICKING)
    logs = lab.directory / "logs"
    file = logs / "ticking.log"
    async with lab.manager(log_dir=logs) as runtime:
        await runtime.start_all()
        pid = runtime.summary("ticking").pid
        await until(file.exists)
        logs.rename(lab.directory / "gone")
        await until(file.exists, "the directory to be made again")
        assert not told.lines
        logs.rename(lab.directory / "gone too")
        logs.write_text("in the way")
        await until(lambda: told.count("cannot be written"), "the file in the way to be told")
        await ticks_on(runtime, pid)
        logs.unlink()
        await until(lambda: told.count("writing log files in"), "the file to go on")
        await ticks_on(runtime, pid)
    assert told.count("cannot be written") == 1


# --- the host's own stderr -------------------------------------------------------------------


class StalledHost:
    """``vconnect serve`` whose stderr is a pipe that nobody reads."""

    def __init__(self, lab: Lab, loop: str) -> None:
        self._reading, writing = os.pipe()
        self._admin = lab.directory / "admin.sock"
        command = [sys.executable, "-m", "vconnect", "serve", loop, "--admin", str(self._admin)]
        command += ["--plugin-dir", str(lab.plugins), "--socket", str(lab.socket)]
        self.process = subprocess.Popen(
            command, cwd=lab.directory, stdin=subprocess.DEVNULL, stderr=writing
        )
        os.close(writing)

    def __enter__(self) -> StalledHost:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(PATIENCE_S)
        if self._reading >= 0:
            os.close(self._reading)

    def ask(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "vconnect", "--admin", str(self._admin), *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return done.stdout

    def ticks(self) -> int:
        """Return the number of the newest tick."""
        words = self.ask("logs", "ticking", "-n", "1").split(" tick ")
        return int(words[-1].split()[0]) if len(words) > 1 else 0

    def read_all(self) -> bytes:
        data = b""
        while piece := os.read(self._reading, 65536):
            data += piece
        return data


LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])


@pytest.mark.slow
@LOOPS
def test_a_stalled_stderr_stops_neither_events_nor_the_end(lab: Lab, loop: str) -> None:
    lab.plugin("ticking", TICKING.replace("0.01", "0.001"))
    with StalledHost(lab, loop) as host:
        wait_until(lambda: "running" in host.ask("list"), "the plugin")
        # Far more than a pipe holds.
        wait_until(lambda: host.ticks() >= 1500, "ticks")
        began = time.monotonic()
        assert '"echo":{"n":1}' in host.ask("emit", "e", '{"n": 1}')
        assert time.monotonic() - began < 5
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(PATIENCE_S) == 0


@pytest.mark.slow
@LOOPS
def test_what_waited_for_a_stalled_stderr_is_there_when_it_is_read(lab: Lab, loop: str) -> None:
    lab.plugin("ticking", TICKING.replace("0.01", "0.001"))
    with StalledHost(lab, loop) as host:
        wait_until(lambda: host.ticks() >= 1500, "ticks")
        host.process.send_signal(signal.SIGTERM)
        read: list[bytes] = []
        reader = threading.Thread(target=lambda: read.append(host.read_all()))
        reader.start()
        assert host.process.wait(PATIENCE_S) == 0
        reader.join(PATIENCE_S)
    lines = read[0].decode().splitlines()
    numbers = [int(line.split(" tick ")[1].split()[0]) for line in lines if " tick " in line]
    assert numbers[:1500] == [*range(1, 1501)]
    assert any("received SIGTERM: stopping plugins" in line for line in lines)


@pytest.mark.slow
@LOOPS
def test_a_stderr_that_is_closed_stops_nothing(lab: Lab, loop: str) -> None:
    lab.plugin("ticking", TICKING)
    with StalledHost(lab, loop) as host:
        wait_until(lambda: "running" in host.ask("list"), "the plugin")
        os.close(host._reading)
        host._reading = -1
        wait_until(lambda: host.ticks() >= 100, "ticks")
        assert '"echo":{"n":1}' in host.ask("emit", "e", '{"n": 1}')
        host.process.send_signal(signal.SIGTERM)
        assert host.process.wait(PATIENCE_S) == 0
