"""Which plugins this machine can run, and in which language each."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

from .embedding import FILTER

BUILD_SECONDS = 300
OLDEST_NODE = 18


class BuildError(Exception):
    """The chat cannot start without this."""


class Source(NamedTuple):
    """A plugin that runs here.

    Attributes:
        name: Its name.
        language: What it is written in.
        path: Its directory.
    """

    name: str
    language: str
    path: Path


class Prepared(NamedTuple):
    """The plugins that run here, and in words what does not."""

    sources: list[Source]
    left_out: list[str]


def prepare(directory: Path) -> Prepared:
    """Build the plugins in this directory, in the languages that the machine has.

    Raises:
        BuildError: The filter is not there.
    """
    if not (directory / FILTER / "plugin.py").is_file():
        raise BuildError(f"there is no {FILTER}/plugin.py in {directory}")
    prepared = Prepared([Source(FILTER, "Python", directory / FILTER)], [])
    _add_bot(directory, prepared)
    _add_stats(directory, prepared)
    return prepared


def _add_bot(directory: Path, prepared: Prepared) -> None:
    if _has_node():
        prepared.sources.append(Source("bot", "Node", directory / "bot"))
    else:
        prepared.sources.append(Source("bot", "Python", directory / "bot-python"))
        prepared.left_out.append(f"no Node {OLDEST_NODE}: the bot is the one in Python")


def _add_stats(directory: Path, prepared: Prepared) -> None:
    if _succeeds(
        "cargo build --quiet --locked --offline --manifest-path",
        directory / "stats" / "Cargo.toml",
    ):
        prepared.sources.append(Source("stats", "Rust", directory / "stats"))
    elif _succeeds("make --silent -C", directory / "stats-c"):
        prepared.sources.append(Source("stats", "C", directory / "stats-c"))
        prepared.left_out.append("no cargo that works: the statistics are the ones in C")
    else:
        prepared.left_out.append("neither cargo nor cc works: there are no statistics")


def _has_node() -> bool:
    try:
        done = subprocess.run(
            ["node", "--version"], capture_output=True, text=True, timeout=20, check=False
        )
        return int(done.stdout.lstrip("v").partition(".")[0]) >= OLDEST_NODE
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return False


def _succeeds(command: str, path: Path) -> bool:
    if not path.exists():
        return False
    try:
        done = subprocess.run(
            [*command.split(), str(path)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
