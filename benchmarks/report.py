"""What the figures were measured on, and how they are printed."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from .footprint import Footprint
from .measure import Figure

_HEADINGS = ("work", "way", "time", "per second", "x rival", "x floor")
_MEMORY_HEADINGS = ("host memory", "loop", "each", "its description", "its connection")
_PACKAGES = ("vconnect", "uvloop", "orjson", "grpcio", "pyzmq")


def conditions(*, compiled: bool) -> dict[str, Any]:
    """State machine, versions, date and what the peers are made of."""
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "versions": {package: number for package in _PACKAGES if (number := _version(package))},
        "peers": "C" if compiled else "Python (no C compiler found): no floor, and a slow plugin",
    }


class Results(NamedTuple):
    """All that one run found.

    Attributes:
        stated: The conditions.
        figures: Of the rows.
        footprints: Of the memory.
        missing: What could not be measured here, and why.
    """

    stated: dict[str, Any]
    figures: list[Figure]
    footprints: list[Footprint]
    missing: list[str]


def as_json(results: Results) -> str:
    memory = [
        {**footprint._asdict(), "connection_bytes": footprint.connection_bytes}
        for footprint in results.footprints
    ]
    value = {
        **results.stated,
        "figures": [figure._asdict() for figure in results.figures],
        "memory": memory,
        "missing": results.missing,
    }
    return orjson.dumps(value, option=orjson.OPT_INDENT_2).decode()


def as_table(results: Results) -> str:
    """Lay all out as tables in Markdown, under the conditions that they hold for."""
    parts = ["\n".join(_said(results.stated))]
    if results.figures:
        parts.append(_markdown(_HEADINGS, _cells(results.figures)))
    if results.footprints:
        parts.append(_markdown(_MEMORY_HEADINGS, [_memory(one) for one in results.footprints]))
    parts += [f"left out: {what}" for what in results.missing]
    return "\n\n".join(parts)


def _markdown(headings: tuple[str, ...], cells: list[tuple[str, ...]]) -> str:
    """The first two columns hold words, the others numbers."""
    lines = [headings, *cells]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    table = [_line(line, widths) for line in lines]
    rule = "|".join("-" * (width + 1) + ("-" if n < 2 else ":") for n, width in enumerate(widths))
    table.insert(1, f"|{rule}|")
    return "\n".join(table)


def _memory(found: Footprint) -> tuple[str, ...]:
    sizes = (found.connected_bytes, found.described_bytes, found.connection_bytes)
    return (
        f"idle plugin, one of {found.plugins:,}",
        found.loop,
        *(f"{size / 1024:.1f} KiB" for size in sizes),
    )


def _said(stated: dict[str, Any]) -> list[str]:
    packages = ", ".join(f"{name} {number}" for name, number in stated["versions"].items())
    return [
        f"{stated['date']}: {stated['cpu']}, {stated['cores']} cores, {stated['system']}",
        f"{stated['python']}, {packages}; peers: {stated['peers']}",
    ]


def _cells(figures: list[Figure]) -> list[tuple[str, ...]]:
    lines: list[tuple[str, ...]] = []
    row = ""
    for figure in figures:
        lines.append(
            (
                figure.row if figure.row != row else "",
                figure.way,
                _duration(figure.seconds),
                _rate(figure.per_second),
                _ratio(figure.vs_rival) if figure.role != "rival" else "1",
                _ratio(figure.vs_floor) if figure.role != "floor" else "1",
            )
        )
        row = figure.row
    return lines


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _line(cells: tuple[str, ...], widths: list[int]) -> str:
    padded = [
        cell.ljust(width) if column < 2 else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _duration(seconds: float) -> str:
    for unit, size in (("ms", 1e-3), ("us", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _rate(per_second: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if per_second >= size:
            return f"{per_second / size:.3g} {unit}"
    return f"{per_second:.3g}"


def _ratio(ratio: float | None) -> str:
    if ratio is None:
        return ""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2g}" if ratio < 1 else f"{ratio:.3g}"


def _cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # macOS
        return platform.processor() or platform.machine()
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
