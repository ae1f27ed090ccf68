"""``vconnect bench``: its results, its errors, and that nothing of it stays behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vconnect.bench import run
from vconnect.bench.works import CHAINS, FAN_OUTS, all_works, event_for, events_of
from vconnect.errors import VConnectError

VCONNECT = (sys.executable, "-m", "vconnect")
DEADLINE = 60.0


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where the command makes its temporary directory; it must be empty at the end."""
    path = tmp_path_factory.mktemp("b")
    yield path
    assert list(path.iterdir()) == []
    assert processes_in(path) == []


def processes_in(directory: Path) -> list[str]:
    """Find processes that were told of a socket there (Linux)."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if str(directory) in command:
            found.append(command.replace("\0", " "))
    return found


def bench(directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*VCONNECT, "bench", *options],
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_quick_run_tells_all_as_json(directory: Path, loop: str) -> None:
    option = "--uvloop" if loop == "uvloop" else "--no-uvloop"
    with bench(directory, "--quick", "--json", option) as process:
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, "")
    report = json.loads(output)
    assert report["loop"] == loop
    assert report["cores"] >= 1
    assert [result["work"]["name"] for result in report["results"]] == [
        work.name for work in all_works()
    ]
    for result in report["results"]:
        assert result["events"] >= 1
        assert 0 < result["p50_us"] <= result["p99_us"]
        assert result["per_second"] > 0
        plugins = result["work"]["plugins"]
        assert result["deliveries_per_second"] == pytest.approx(result["per_second"] * plugins)
        assert result["bytes_per_second"] > result["deliveries_per_second"]


@pytest.mark.slow
def test_a_quick_run_prints_a_line_for_each_work(directory: Path) -> None:
    with bench(directory, "--quick") as process:
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (0, "")
    for work in all_works():
        assert sum(line.startswith(f"{work.name}  ") for line in output.splitlines()) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_in_order(directory: Path, number: signal.Signals) -> None:
    with bench(directory) as process:
        until = time.monotonic() + DEADLINE
        while not list(directory.glob("vconnect-bench-*/r.sock")):
            assert time.monotonic() < until
            time.sleep(0.02)
        time.sleep(1.0)
        process.send_signal(number)
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, output, errors.strip()) == (130, "", "")


def test_peers_that_do_not_come_are_told(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(directory))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(VConnectError, match=r"^0 of 100 echo plugins are connected"):
        run.run_bench(quick=True, progress=lambda _: None)
    monkeypatch.setattr("tempfile.tempdir", None)


def test_wrong_usage_is_one_json_value(directory: Path) -> None:
    with bench(directory, "--json", "--fast") as process:
        output, _ = process.communicate(timeout=DEADLINE)
    assert process.returncode == 2
    assert json.loads(output)["error"]["code"] == "usage"


def test_each_work_reaches_as_many_plugins_as_it_says() -> None:
    for work in all_works():
        wanted = [number for number in range(200) if work.event in events_of(number)]
        assert wanted == list(range(work.plugins))
    assert {event_for(count) for count in {*CHAINS, *FAN_OUTS}} == set(events_of(0))


def test_payloads_have_the_size_that_they_say() -> None:
    for work in all_works():
        assert len(json.dumps(work.payload, separators=(",", ":"))) == work.payload_bytes
