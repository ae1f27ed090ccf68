"""What the look at process trees makes of what it sees, from samples that the test made up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.support.paper import PaperProcess, monitor, moved, plugin, unopened

from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.processes.usage import Sampler, Usage

SMALL = Usage(
    cpu_percent=1.0,
    rss_bytes=100,
    processes=1,
    threads=1,
    open_files=3,
    stopped=frozenset(),
    is_led=True,
)
LARGE = msgspec.structs.replace(SMALL, rss_bytes=101, processes=3)
UP = (PluginStatus.STARTING, PluginStatus.RUNNING)


class Samples(Sampler):
    """Measures what it is told: by PID, or an error.

    Attributes:
        meanwhile: Done while it measures.
    """

    def __init__(self) -> None:
        super().__init__()
        self.usages: dict[int, Usage] = {}
        self.error: OSError | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    def measure(self, sessions: Any, cgroups: Any = None) -> dict[int, Usage]:
        self.meanwhile()
        if self.error is not None:
            raise self.error
        return {pid: usage for pid, usage in self.usages.items() if pid in sessions}


class Watched:
    """A plugin as the monitor is given it: who is condemned is only written down."""

    def __init__(self, runtime: PluginRuntime, process: PaperProcess | None) -> None:
        self.plugin = runtime
        self.condemned: list[tuple[Substate, str]] = []
        runtime.started(process)

    def condemn(self, substate: Substate, reason: str) -> None:
        self.condemned.append((substate, reason))


class Scene:
    """One plugin, the monitor that looks at it, and a clock."""

    def __init__(self, **options: Any) -> None:
        options = {"heartbeat": 1.0, "heartbeat_misses": 3, "memory_limit_bytes": 100} | options
        self.runtime = moved(plugin(**options), *UP)
        self.process = PaperProcess()
        self.watched: Any = Watched(self.runtime, self.process)
        self.monitor = monitor(**options)
        self.samples = self.monitor._sampler = Samples()

    async def look(self, *usages: Usage | None) -> list[tuple[Substate, str]]:
        """Look once for each sample; return who is condemned by then, and why."""
        for usage in usages:
            self.samples.usages = {} if usage is None else {self.process.pid: usage}
            await self.monitor.look([self.watched])
        return self.watched.condemned


@pytest.fixture
async def scene() -> Scene:
    return Scene()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


# --- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usages", "is_condemned"),
    [
        ([SMALL] * 5, False),
        ([LARGE], False),
        ([LARGE, LARGE], True),
        ([LARGE, SMALL, LARGE], False),
        ([LARGE, SMALL, LARGE, LARGE], True),
        ([LARGE, None, LARGE], True),
    ],
)
async def test_two_samples_over_the_limit_in_a_row(scene, usages, is_condemned):
    assert bool(await scene.look(*usages)) is is_condemned


async def test_the_words_name_sizes_and_the_setting(scene):
    assert await scene.look(LARGE, LARGE) == [
        (
            Substate.MEMORY_LIMIT,
            "memory_limit: 3 process(es) with 101 bytes of resident memory; "
            "memory_limit_bytes is 100",
        )
    ]


async def test_no_limit_is_no_limit():
    assert not await Scene(memory_limit_bytes=0).look(LARGE, LARGE, LARGE)


async def test_a_new_process_begins_with_a_clean_slate(scene):
    await scene.look(LARGE)
    scene.process = PaperProcess()
    scene.runtime.started(scene.process)
    assert not await scene.look(LARGE)
    assert await scene.look(LARGE)


async def test_one_that_stops_anyway_is_left_alone(scene):
    scene.runtime.move(PluginStatus.STOPPING, Substate.NONE)
    assert not await scene.look(LARGE, LARGE, LARGE)


# --- stopped by a signal ---------------------------------------------------------------------


def stopped(*pids: int) -> Usage:
    return msgspec.structs.replace(SMALL, stopped=frozenset(pids))


async def looks_for(scene: Scene, clock: list[float], usage: Usage, seconds: float) -> bool:
    for _ in range(int(seconds)):
        await scene.look(usage)
        clock[0] += 1
    await scene.look(usage)
    return bool(scene.watched.condemned)


async def test_one_that_is_stopped_for_as_long_as_pings_may_miss_is_replaced(clock):
    scene = Scene()
    usage = stopped(scene.process.pid)
    assert not await looks_for(scene, clock, usage, 2)
    clock[0] += 1
    assert await scene.look(usage) == [
        (Substate.WATCHDOG, "stopped by a signal (SIGSTOP) for 3.0 s")
    ]


async def test_one_that_goes_on_has_its_time_anew(clock):
    scene = Scene()
    for _ in range(3):
        assert not await looks_for(scene, clock, stopped(scene.process.pid), 2)
        await scene.look(SMALL)


async def test_whoever_is_connected_counts_as_the_leader_does(clock):
    scene = Scene()
    scene.runtime.session = unopened(pid=77)
    assert not await looks_for(scene, clock, stopped(78), 5)
    assert await looks_for(scene, clock, stopped(77), 3)


async def test_a_native_one_is_missed_by_its_pings(clock):
    scene = Scene()
    scene.runtime.session = unopened(native=True)
    assert not await looks_for(scene, clock, stopped(scene.process.pid), 9)


async def test_after_a_suspension_of_the_machine_time_begins_anew(clock):
    scene = Scene()
    usage = stopped(scene.process.pid)
    assert not await looks_for(scene, clock, usage, 2)
    clock[0] += 3600
    assert not await looks_for(scene, clock, usage, 2)
    assert await looks_for(scene, clock, usage, 3)


# --- signs of life ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "is_alive"),
    [
        (SMALL, True),
        (None, True),  # as on macOS, where nothing can be measured
        (msgspec.structs.replace(SMALL, is_led=False), False),
    ],
)
async def test_who_is_seen_alive(scene, usage, is_alive):
    await scene.look(usage)
    assert (scene.runtime.last_heartbeat is not None) is is_alive
    assert scene.runtime.usage == usage


async def test_the_stopped_and_the_dead_are_not(scene):
    await scene.look(stopped(scene.process.pid))
    scene.process.die()
    await scene.look(SMALL)
    assert scene.runtime.last_heartbeat is None


@pytest.mark.parametrize("connected", [True, False])
async def test_a_guest_is_alive_while_it_is_connected(connected):
    runtime = plugin(path=None)
    runtime.usage = SMALL
    runtime.session = unopened() if connected else None
    watched: Any = Watched(runtime, None)
    await monitor().look([watched])
    assert (runtime.last_heartbeat is not None) is connected
    assert runtime.usage is None


async def test_without_a_descriptor_what_was_known_stands(scene):
    await scene.look(LARGE)
    scene.samples.error = OSError(24, "Too many open files")
    await scene.look(SMALL)
    assert scene.runtime.usage == LARGE
    scene.samples.error = None
    assert await scene.look(LARGE)


async def test_one_that_is_replaced_meanwhile_is_not_judged_by_the_old_one(scene):
    scene.samples.meanwhile = lambda: scene.runtime.started(PaperProcess())
    assert not await scene.look(LARGE, LARGE)
    assert scene.runtime.usage is None


async def test_a_pass_that_took_long_is_made_in_a_thread(scene):
    threads = []
    scene.samples.meanwhile = lambda: threads.append(threading.current_thread())
    scene.samples.took_s = 1.0
    await scene.look(SMALL, SMALL)
    scene.samples.took_s = 0.0
    await scene.look(SMALL, SMALL)
    is_main = [thread is threading.main_thread() for thread in threads]
    assert is_main == [True, False, False, True]
