"""The options of ``vconnect pack`` for the dependencies of Python plugins."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import Any, NamedTuple

import click


class DependencyOptions(NamedTuple):
    """What was given on the command line.

    Attributes:
        lock: Whether to write the lock file anew.
        wheels: Whether to put wheels beside it.
        pythons: The versions of Python that they are for.
        platforms: The platforms of the wheels.
        directories: Further directories of wheels.
        is_offline: Whether to use these directories alone.
    """

    lock: bool
    wheels: bool
    pythons: tuple[str, ...]
    platforms: tuple[str, ...]
    directories: tuple[Path, ...]
    is_offline: bool


def dependency_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options; pass them as ``dependencies``."""

    def wrapper(
        *arguments: Any,
        lock: bool,
        wheels: bool,
        pythons: tuple[str, ...],
        platforms: tuple[str, ...],
        directories: tuple[Path, ...],
        is_offline: bool,
        **options: Any,
    ) -> None:
        given = DependencyOptions(lock, wheels, pythons, platforms, directories, is_offline)
        if any(given[2:]) and not (lock or wheels):
            raise click.UsageError(
                "--python, --wheel-platform, --find-links and --no-index are for --lock and "
                "--wheels, which are missing"
            )
        command(*arguments, dependencies=given, **options)

    update_wrapper(wrapper, command)
    for option in reversed(_OPTIONS):
        wrapper = option(wrapper)
    return wrapper


_OPTIONS = [
    click.option(
        "--lock", is_flag=True, help="Lock the dependencies: write _vconnect/requirements.lock."
    ),
    click.option(
        "--wheels", is_flag=True, help="Put the wheels of what is locked into the package."
    ),
    click.option(
        "--python",
        "pythons",
        multiple=True,
        metavar="X.Y",
        help="A version of Python that they are for; repeatable.  [default: this one]",
    ),
    click.option(
        "--wheel-platform",
        "platforms",
        multiple=True,
        metavar="TAG",
        help="A platform that they are for, such as manylinux_2_28_x86_64; repeatable.",
    ),
    click.option(
        "--find-links",
        "directories",
        multiple=True,
        type=click.Path(path_type=Path, file_okay=False, exists=True),
        metavar="DIR",
        help="Use the wheels in DIR, too; repeatable.",
    ),
    click.option("--no-index", "is_offline", is_flag=True, help="Use nothing but these wheels."),
]


def provide(source: Path, options: DependencyOptions) -> str:
    """Write the lock file and the wheels that were asked for.

    Returns:
        What an author should know, or an empty text.

    Raises:
        InstallError: What is declared cannot be resolved, or the lock file is old.
    """
    import asyncio  # only here: most commands need no loop

    from vconnect.environments.locked import read_lock
    from vconnect.environments.resolve import (
        Wanted,
        check_source,
        fetch_wheels,
        lock_dependencies,
    )

    wanted = Wanted(
        pythons=options.pythons,
        platforms=options.platforms,
        directories=tuple(one.absolute() for one in options.directories),
        is_offline=options.is_offline,
    )

    async def work() -> None:
        if options.lock or (options.wheels and read_lock(source) is None):
            await lock_dependencies(source, wanted, executable=sys.executable)
        if options.wheels:
            await fetch_wheels(source, wanted, executable=sys.executable)

    if options.lock or options.wheels:
        asyncio.run(work())
    return check_source(source)
