"""The benchmarks start, do their work once, and leave out only what a machine lacks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in (ROOT / "benchmarks").glob("bench_*.py"))
_LONG = ("bench_scale.py",)  # a thousand plugins


def pytest_in_root(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


# The rows beside gRPC and ZeroMQ have their rivals only where those are installed.
@pytest.mark.slow
@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=[pytest.mark.nightly] * (file in _LONG)) for file in FILES],
)
def test_every_way_of_a_benchmark_runs_once(file: str) -> None:
    done = pytest_in_root(f"benchmarks/{file}", "--benchmark-disable")
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout


def test_benchmark_only_collects_the_benchmarks_and_no_tests() -> None:
    done = pytest_in_root("--benchmark-only", "--collect-only")
    assert done.returncode == 0, done.stdout
    collected = [line.split("::")[0] for line in done.stdout.splitlines() if "::" in line]
    assert set(collected) == {f"benchmarks/{file}" for file in FILES}


@pytest.mark.slow
def test_plain_pytest_collects_no_benchmarks() -> None:
    done = pytest_in_root("--collect-only", "--ignore", "tests/unit")
    assert done.returncode == 0, done.stdout
    assert "tests/integration/test_benchmarks.py::" in done.stdout
    assert "benchmarks/bench_" not in done.stdout
