"""``vconnect bench`` as a command; what it measures is measured elsewhere."""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import pytest

from vconnect.bench import run as bench_run
from vconnect.bench.run import Report, Result
from vconnect.bench.works import Work, all_works
from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.errors import VConnectError

COLUMNS = ["12.5", "us", "2.50", "ms", "1,234", "5,678", "9.0", "MB/s"]
Printed = pytest.CaptureFixture[str]


def result_of(work: Work) -> Result:
    return Result(
        work=work,
        events=100,
        p50_us=12.5,
        p99_us=2500.0,
        per_second=1234.0,
        deliveries_per_second=5678.0,
        bytes_per_second=9e6,
    )


@pytest.fixture(autouse=True)
def levels(caplog: pytest.LogCaptureFixture) -> None:
    """Undo what the command does to the log of this process."""
    caplog.set_level(logging.NOTSET, logger="vconnect.watching")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the command asks of the benchmark, which here takes no time."""
    options: list[dict[str, Any]] = []

    def run_bench(*, progress, **wanted: Any) -> Report:
        options.append(wanted)
        for work in all_works():
            progress(work)
        return Report(
            version="1.2",
            python="CPython 3",
            system="Linux x",
            cores=2,
            loop="asyncio",
            seconds=1.0,
            results=[result_of(work) for work in all_works()],
        )

    monkeypatch.setattr(bench_run, "run_bench", run_bench)
    return options


def bench(*options: str) -> int:
    return run(root, ["bench", *options])


def test_a_table_has_a_line_for_each_work(asked: list[dict[str, Any]], capsys: Printed) -> None:
    assert bench() == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[0] == "vconnect 1.2, CPython 3, asyncio, Linux x, 2 cores"
    for work in all_works():
        (line,) = (line for line in out.splitlines() if line.startswith(f"{work.name} "))
        assert line.removeprefix(work.name).split() == COLUMNS
    assert err == ""  # no terminal


def test_as_json_it_is_the_report(asked: list[dict[str, Any]], capsys: Printed) -> None:
    assert bench("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert [result["work"]["name"] for result in report["results"]] == [
        work.name for work in all_works()
    ]
    assert report["results"][0]["p50_us"] == 12.5


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), {"quick": False, "uvloop": None}),
        (("--quick", "--uvloop"), {"quick": True, "uvloop": True}),
        (("--no-uvloop",), {"quick": False, "uvloop": False}),
    ],
)
def test_options_are_handed_on(
    options: tuple[str, ...], wanted: dict[str, Any], asked: list[dict[str, Any]]
) -> None:
    assert bench(*options) == 0
    assert asked == [wanted]


def test_on_a_terminal_each_work_is_announced(
    asked: list[dict[str, Any]], capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert bench("--json") == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == [f"{work.name} ..." for work in all_works()]
    assert json.loads(out)


def test_an_error_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: Printed) -> None:
    def run_bench(**_: Any) -> Report:
        raise VConnectError("the plugins do not connect")

    monkeypatch.setattr(bench_run, "run_bench", run_bench)
    assert bench() == 1
    assert capsys.readouterr().err == "error: the plugins do not connect\n"
