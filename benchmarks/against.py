"""Compare this working tree with an earlier commit: ``python -m benchmarks.against REV``.

Two builds run side by side, each with a host and sixteen plugins of its own. Blocks are timed in
turns, and the order changes from pair to pair, so whatever else the machine does slows neighbors
alike. Where a process happens to lie in memory makes one of two equal builds up to 6 % faster for
as long as it lives, so both are copied and started anew several times. Each start gives one ratio,
the median of its pairs; the table shows the median of the starts and the spread of their middle
half. More than 1 means that the working tree is faster than REV. Rows below 0.97 are named after
the table. Compare with ``HEAD`` to see what the machine's noise is.

REV is built once and kept below ``.run/against``.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from .contender import ROWS

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".run" / "against"
FLOOR = 0.97
STARTS, QUICK_STARTS = 8, 2
PAIRS = 3
BLOCK_S, QUICK_BLOCK_S = 0.4, 0.1


class Compared(NamedTuple):
    """One row.

    Attributes:
        ratio: How many times faster the working tree is, the median of the starts.
        low: The first quartile of the starts.
        high: The third one.
        seconds: What one operation takes in the working tree, the median.
    """

    row: str
    ratio: float
    low: float
    high: float
    seconds: float


class Start(NamedTuple):
    """What one start of both builds showed for a row: see `Compared`."""

    ratio: float
    seconds: float


class Contender:
    """A build in a process of its own; a context.

    Args:
        path: The directory that holds its package ``vconnect``.
    """

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.contender"],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        loaded = self._read()
        if not Path(loaded).is_relative_to(path):
            self.close()
            raise SystemExit(f"expected the build below {path}, but {loaded} was imported")

    def __enter__(self) -> Contender:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, row: str, count: int) -> float:
        """Return the seconds that ``count`` operations of a row take."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{row} {count}\n")
        self._process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """End the process, which ends at the end of its input."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _read(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"a build ended with exit code {self._process.wait()}; see above")
        return line.strip()


def main() -> int:
    options = _parse()
    rows = [row for row in ROWS if not options.only or any(part in row for part in options.only)]
    if not rows:
        raise SystemExit(f"no row has {' or '.join(options.only)} in its name: {'; '.join(ROWS)}")
    commit = _resolve(options.rev)
    built = _built(commit)
    starts, block_s = (QUICK_STARTS, QUICK_BLOCK_S) if options.quick else (STARTS, BLOCK_S)
    taken: dict[str, list[Start]] = {row: [] for row in rows}
    for number in range(starts):
        print(f"start {number + 1} of {starts} ...", file=sys.stderr)
        with _both(built, number) as (new, old):
            for row in rows:
                taken[row].append(_compare(row, new, old, block_s))
    print(_table([_summed_up(row, taken[row]) for row in rows], commit))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.against",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rev", metavar="REV", help="a commit, as git names it")
    parser.add_argument("--quick", action="store_true", help="two short starts: rough figures")
    parser.add_argument(
        "--only",
        action="append",
        metavar="TEXT",
        help=f"only rows whose name has TEXT in it; may be repeated. One of: {'; '.join(ROWS)}",
    )
    return parser.parse_args()


def _resolve(rev: str) -> str:
    done = subprocess.run(
        ["git", "rev-parse", "--verify", "--quiet", f"{rev}^{{commit}}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"{rev!r} names no commit of this checkout; try: git log --oneline")
    return done.stdout.strip()


@contextmanager
def _both(built: Path, number: int) -> Iterator[tuple[Contender, Contender]]:
    """Start the working tree and an earlier build; odd starts go in the opposite order."""
    with ExitStack() as stack:
        started = {}
        builds = {"new": ROOT / "src", "old": built}
        for name in sorted(builds, reverse=bool(number % 2)):
            started[name] = stack.enter_context(Contender(_copied(name, builds[name])))
        yield started["new"], started["old"]


def _copied(name: str, path: Path) -> Path:
    """Copy a build to a path of the same length for each, and compile its modules.

    The length of the environment moves a stack, how a file was written moves its pages, and a
    process that compiles what it imports has a heap in which each allocation takes longer: 5 % of a
    request.
    """
    copy = CACHE / name
    shutil.rmtree(copy, ignore_errors=True)
    compiled = shutil.ignore_patterns("__pycache__")
    shutil.copytree(path / "vconnect", copy / "vconnect", ignore=compiled)
    compileall.compile_dir(copy, quiet=1)
    return copy


def _built(commit: str) -> Path:
    """Build a commit's package, unless that is done, and return the directory that holds it."""
    site = CACHE / commit / "site"
    if site.exists():
        return site
    print(f"building {commit[:9]} ...", file=sys.stderr)
    with _sources(commit) as sources:
        install = ["pip", "install", "--quiet", "--no-build-isolation", "--no-deps", "--target"]
        made = site.with_name("new")
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run([sys.executable, "-m", *install, str(made), str(sources)], check=True)
    made.rename(site)  # whole or not at all
    return site


@contextmanager
def _sources(commit: str) -> Iterator[Path]:
    """Unpack a commit's files for the length of a ``with`` block."""
    tree = CACHE / commit / "source"
    shutil.rmtree(tree, ignore_errors=True)
    archive = subprocess.run(["git", "archive", commit], cwd=ROOT, capture_output=True, check=True)
    tree.mkdir(parents=True)
    subprocess.run(["tar", "-x", "-C", tree], input=archive.stdout, check=True)
    try:
        yield tree
    finally:
        shutil.rmtree(tree)


def _compare(row: str, new: Contender, old: Contender, block_s: float) -> Start:
    count = _calibrate(row, old, block_s)
    new.run(row, count)  # warm
    took = [_pair(row, count, new, old, number) for number in range(PAIRS)]
    return Start(
        ratio=median(before / now for now, before in took),
        seconds=median(now for now, _ in took) / count,
    )


def _summed_up(row: str, starts: list[Start]) -> Compared:
    ratios = [one.ratio for one in starts]
    low, _, high = quantiles(ratios, n=4)
    return Compared(row, median(ratios), low, high, median(one.seconds for one in starts))


def _pair(row: str, count: int, new: Contender, old: Contender, number: int) -> tuple[float, float]:
    """Time one block of each build; odd pairs go in the opposite order."""
    if number % 2:
        before = old.run(row, count)
        return new.run(row, count), before
    now = new.run(row, count)
    return now, old.run(row, count)


def _calibrate(row: str, build: Contender, block_s: float) -> int:
    """Find how many operations fill a block."""
    count = 64
    while (took := build.run(row, count)) < block_s / 4:
        count *= 4
    return max(64, round(count * block_s / took / 64) * 64)


def _table(compared: list[Compared], commit: str) -> str:
    lines = [
        f"| row | working tree / {commit[:9]} | middle half | one operation now |",
        "|---|---:|---:|---:|",
        *(
            f"| {one.row} | {one.ratio:.3f} | {one.low:.3f} to {one.high:.3f} "
            f"| {one.seconds * 1e6:,.2f} us |"
            for one in compared
        ),
        "",
    ]
    slower = [one.row for one in compared if one.ratio < FLOOR]
    lines.append(f"below {FLOOR}: {'; '.join(slower) or 'none'}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
