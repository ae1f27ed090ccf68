"""Measure everything in one run and print one table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable

from .footprint import NEEDS, Footprint, measure_footprints
from .measure import Effort, Figure, Row, measure
from .peers import Peers
from .report import Results, as_json, as_table, conditions
from .rows import all_rows

FULL = Effort(rounds=9, seconds=0.25)
QUICK = Effort(rounds=3, seconds=0.05)
MEMORY = "memory"


def main() -> int:
    options = _parse(sorted({MEMORY, *(row.group for row in all_rows())}))
    # As Ctrl-C: every context is left, so no child and no directory stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows = [row for row in all_rows() if options.only is None or row.group in options.only]
    try:
        with Peers() as peers:
            stated = conditions(compiled=peers.compiled)
            figures, missing = _measure_all(rows, peers, QUICK if options.quick else FULL)
            footprints: list[Footprint] = []
            if options.only is None or MEMORY in options.only:
                footprints, lacking = _measure_memory(peers)
                missing += lacking
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    results = Results(stated, figures, footprints, missing)
    print((as_json if options.json else as_table)(results))
    return 0


def _parse(groups: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON value, no table")
    parser.add_argument("--quick", action="store_true", help="a short run, with rough figures")
    parser.add_argument(
        "--only",
        action="append",
        choices=groups,
        metavar="NAME",
        help=f"only these rows; may be repeated. One of: {', '.join(groups)}",
    )
    return parser.parse_args()


def _measure_all(
    rows: Iterable[Row], peers: Peers, effort: Effort
) -> tuple[list[Figure], list[str]]:
    """Return the figures, and what is missing of them and why."""
    figures: list[Figure] = []
    missing: list[str] = []
    for row in rows:
        if not peers.can_place(row.placement):
            missing.append(f"{row.name}: needs another core")
            continue
        print(f"{row.name} ...", file=sys.stderr)
        figures += measure(row, peers, effort)
        missing += [
            f"{row.name}: {way.name} needs {', '.join(lacking)}"
            for way in row.ways
            if (lacking := peers.lacks(way.needs))
        ]
    return figures, missing


def _measure_memory(peers: Peers) -> tuple[list[Footprint], list[str]]:
    if lacking := peers.lacks(NEEDS):
        return [], [f"memory: needs {', '.join(lacking)}"]
    print("memory ...", file=sys.stderr)
    return measure_footprints(peers), []


if __name__ == "__main__":
    sys.exit(main())
