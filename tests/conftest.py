"""What every test gets: the modules beside this file, its event loops, and a look at what it left.

A test that is marked ``both_loops`` (or whose module says ``pytestmark = pytest.mark.both_loops``)
runs on asyncio and on uvloop; all others run on asyncio. If it is ``slow``, or in ``tests/fault``,
it runs on uvloop only, which hosts use. What is ``nightly`` takes long and resembles a test that
runs always. With ``TEST_ALL=1``, as in ``make test-slow``, all run, on both loops.

After every test nothing of it may be left: no child process, no descriptor, no thread, no task,
and nothing that only the event loop's exception handler heard of. What fixtures of a wider scope
hold was there before the test and is there after it, so it is nobody's.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import Lab, new_lab

try:
    import uvloop
except ImportError:  # it is not made for every platform; the host does without it there
    uvloop = None
else:
    # The first loop of a process opens a pipe for signals that stays open for good.
    uvloop.new_event_loop().close()

# What is ignored here, what tests start ignores too: hangups under nohup, interrupts in a shell's
# background. The default for both is to be heeded.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Sockets lie below the temporary directory, and the kernel allows them only short paths.
_LONGEST_TMPDIR = 50
if len(os.fsencode(tempfile.gettempdir())) > _LONGEST_TMPDIR:
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"

# An empty environment has no PATH, and then make finds no compiler.
os.environ.setdefault("PATH", os.defpath)

_EVERYTHING = os.environ.get("TEST_ALL") == "1"
PATIENCE_S = 2.0
_TESTS_PER_FREEZE = 50
_finished = itertools.count(1)
_HAS_PROC = sys.platform == "linux"


# --- event loops -----------------------------------------------------------------------------


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    factories: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": asyncio.new_event_loop
    }
    if uvloop is not None and item.get_closest_marker("both_loops") is not None:
        factories["uvloop"] = uvloop.new_event_loop
        is_long = item.get_closest_marker("slow") is not None or _is_in(item, "fault")
        if is_long and not _EVERYTHING:
            del factories["asyncio"]
    return factories


@pytest.fixture
async def _watched_loop() -> AsyncIterator[None]:
    """Fail a test that leaves a task, or whose loop met an exception that nobody took."""
    loop = asyncio.get_running_loop()
    troubles: list[str] = []

    def heard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        troubles.append(f"{context.get('message')}: {context.get('exception')!r}")
        loop.default_exception_handler(context)

    loop.set_exception_handler(heard)
    before = asyncio.all_tasks()
    yield
    await _all_done(lambda: asyncio.all_tasks() - before - {asyncio.current_task()})
    gc.collect()  # a failed future that nobody asked says so when it goes
    await asyncio.sleep(0)
    assert not troubles, f"the event loop met what nobody took: {troubles}"


async def _all_done(tasks: Callable[[], set[asyncio.Task[Any]]]) -> None:
    until = time.monotonic() + PATIENCE_S
    while tasks():
        assert time.monotonic() < until, f"the test left tasks: {tasks()}"
        await asyncio.sleep(0.001)


# --- what a test may not leave ---------------------------------------------------------------


@pytest.fixture(autouse=True)
def _leaves_nothing() -> Iterator[None]:
    before = _held()
    yield
    until = time.monotonic() + PATIENCE_S
    while left := _held() - before:
        # Some of it goes with a reference cycle, or a moment later: a thread, a process.
        gc.collect()
        if time.monotonic() > until:
            pytest.fail(f"the test left: {', '.join(sorted(left))}")
        time.sleep(0.01)


@pytest.fixture(autouse=True)
def _watches_its_loop(request: pytest.FixtureRequest, _leaves_nothing: None) -> None:
    """Ask for the watch where there is a loop: early, so that it ends late."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("_watched_loop")


def _held() -> set[str]:
    threads = {f"thread {thread.name} ({thread.ident})" for thread in threading.enumerate()}
    return threads | (_children() | _descriptors() if _HAS_PROC else set())


def _children() -> set[str]:
    """The living and the unburied, by each thread that may have started some."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        try:
            pids = (task / "children").read_text().split()
        except OSError:  # the thread has ended, or the kernel was built without the list
            continue
        found |= {f"process {pid}" for pid in pids}
    return found


def _descriptors() -> set[str]:
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"descriptor {entry.name} ({entry.readlink()})")
        except OSError:  # the one of this listing
            continue
    return found


def pytest_collection_finish() -> None:
    """Keep what is loaded by now out of every later collection, which makes them cheap."""
    _freeze()


def pytest_runtest_logfinish() -> None:
    """Do the same with the reports that pytest keeps of each test."""
    if next(_finished) % _TESTS_PER_FREEZE == 0:
        _freeze()


def _freeze() -> None:
    gc.collect()
    gc.freeze()


# --- what many tests use ---------------------------------------------------------------------


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A place for one test's host and plugins; see `tests.support.lab`."""
    with new_lab() as made:
        yield made


# --- benchmarks ------------------------------------------------------------------------------


def pytest_configure(config: pytest.Config) -> None:
    """With ``--benchmark-only`` and no path, collect the benchmarks and not the tests."""
    chosen = config.args_source is not pytest.Config.ArgsSource.TESTPATHS
    if config.getoption("benchmark_only", default=False) and not chosen:
        config.args[:] = [str(config.rootpath / "benchmarks")]


# --- kinds of tests --------------------------------------------------------------------------

_FOLDERS = ("integration", "fault", "fuzz", "machine")


def _is_in(item: pytest.Item, folder: str) -> bool:
    return item.path.is_relative_to(Path(__file__).parent / folder)


def _is_for_the_night(item: pytest.Item) -> bool:
    # Whole hosts choose their loop by an option.
    is_on_the_other_loop = _is_in(item, "fault") and "--no-uvloop" in item.name
    return item.get_closest_marker("nightly") is not None or is_on_the_other_loop


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark each test with the name of its folder, and leave out what only runs at night."""
    tests = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(tests):
            folder = item.path.relative_to(tests).parts[0]
            if folder in _FOLDERS:
                item.add_marker(getattr(pytest.mark, folder))
    left = [item for item in items if _is_for_the_night(item)]
    if left and not _EVERYTHING:
        config.hook.pytest_deselected(items=left)  # so that it is told
        items[:] = [item for item in items if item not in left]
