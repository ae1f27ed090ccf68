"""Measure everything in one run and print one table: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable

from .measure import Effort, Figure, Row, measure
from .peers import Peers
from .report import as_json, as_table, conditions
from .rows import all_rows

FULL = Effort(rounds=9, seconds=0.25)
QUICK = Effort(rounds=3, seconds=0.05)


def main() -> int:
    options = _parse(sorted({row.group for row in all_rows()}))
    # As Ctrl-C: every context is left, so no child and no directory stays behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    rows = [row for row in all_rows() if options.only is None or row.group in options.only]
    try:
        with Peers() as peers:
            stated = conditions(compiled=peers.compiled)
            figures = _measure_all(rows, peers, QUICK if options.quick else FULL)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print((as_json if options.json else as_table)(stated, figures))
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


def _measure_all(rows: Iterable[Row], peers: Peers, effort: Effort) -> list[Figure]:
    figures: list[Figure] = []
    for row in rows:
        if not peers.can_place(row.placement):
            print(f"{row.name}: left out, it needs another core", file=sys.stderr)
            continue
        print(f"{row.name} ...", file=sys.stderr)
        figures += measure(row, peers, effort)
    return figures


if __name__ == "__main__":
    sys.exit(main())
