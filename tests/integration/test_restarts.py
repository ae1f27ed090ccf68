"""Plugins that fall and are put back on their feet; restarts without a gap."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from textwrap import dedent

import pytest
from tests.support.lab import ECHO, Lab, is_alive, pid_in, until, until_status

from vconnect import PluginStatus, PluginSummary
from vconnect.errors import PluginStartError, PluginUnavailableError

pytestmark = pytest.mark.both_loops

RATE = 1000  # events per second
QUICK = {"restart": "always", "restart_delay": 0.01, "restart_max_delay": 0.02}


async def test_a_killed_plugin_comes_back_as_a_new_generation(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    async with lab.manager(restart="always") as runtime:
        await runtime.start_all()
        pid = runtime.summary("echo").pid
        os.kill(pid, signal.SIGKILL)
        await until(lambda: runtime.summary("echo").generation == 2)
        await until_status(runtime, "echo", "Running")
        summary = runtime.summary("echo")
        assert summary.pid not in (None, pid)
        assert summary.exit_signal == "SIGKILL"
        (crash,) = summary.crashes
        assert (crash.reason, crash.generation) == ("killed by SIGKILL", 1)
        assert crash.max_rss_bytes
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_the_wait_is_shown(lab: Lab) -> None:
    lab.plugin("crash", "sys.exit(3)")
    async with lab.manager(
        restart="always", restart_delay=50.0, restart_max_delay=100.0
    ) as runtime:
        await runtime.start_all()
        summary = runtime.summary("crash")
        assert (summary.status, summary.substate) == ("Error", "backoff")
        assert summary.reason.startswith("exited: code 3")
        assert summary.next_retry_at is not None
        assert 0 < summary.next_retry_at - time.time() < 50
        await runtime.stop_plugin("crash")
        summary = runtime.summary("crash")
        assert (summary.status, summary.substate, summary.next_retry_at) == ("Stopped", "", None)


@pytest.mark.parametrize(
    ("code", "status"),
    [("sys.exit(0)", "Stopped"), ("sys.exit(1)", "Error"), ("serve_once()", "Error")],
)
async def test_five_ends_are_a_crash_loop(lab: Lab, code: str, status: str) -> None:
    once = """
    def serve_once():
        connection = Connection()
        connection.greet()
        sys.exit(1)
    """
    lab.plugin("crash", "\n".join([*(line[4:] for line in once.splitlines()), code]))
    async with lab.manager(**QUICK) as runtime:
        await runtime.start_all()
        await until(lambda: runtime.summary("crash").substate == "crash_loop")
        summary = runtime.summary("crash")
        assert (summary.status, summary.generation) == (status, 5)
        assert summary.next_retry_at is not None
        assert 290 < summary.next_retry_at - time.time() <= 300
        assert len(summary.crashes) == 5


async def test_giving_up_is_final_until_an_operator_starts_it(lab: Lab) -> None:
    lab.plugin("crash", "sys.exit(1)")
    async with lab.manager(**QUICK, after_crash_loop="give_up") as runtime:
        await runtime.start_all()
        await until(lambda: runtime.summary("crash").substate == "crash_loop")
        assert runtime.summary("crash").next_retry_at is None
        with pytest.raises(PluginStartError):
            await runtime.start_plugin("crash")
        assert runtime.summary("crash").generation == 6
        assert runtime.summary("crash").substate == "backoff"


async def test_a_required_plugin_is_told_of(lab: Lab) -> None:
    lab.plugin("crash", "sys.exit(1)")
    options = {"crash": {"required": True}}
    async with lab.manager(**QUICK, options=options) as runtime:
        await runtime.start_all()
        assert await asyncio.wait_for(runtime.required_lost, 20) == "crash"


async def test_what_only_a_person_can_mend_is_not_tried_in_a_hurry(lab: Lab) -> None:
    directory = lab.plugin("broken", ECHO)
    (directory / "broken").chmod(0o644)
    async with lab.manager(**QUICK) as runtime:
        await runtime.start_all()
        summary = runtime.summary("broken")
        assert (summary.substate, summary.generation) == ("spawn_failed", 1)
        assert summary.next_retry_at is not None
        assert summary.next_retry_at - time.time() > 290


async def test_a_clean_exit_is_left_alone_where_only_failures_count(lab: Lab) -> None:
    lab.plugin("done", "sys.exit(0)")
    async with lab.manager(**QUICK | {"restart": "on-failure"}) as runtime:
        await runtime.start_all()
        summary = runtime.summary("done")
        assert (summary.status, summary.substate) == ("Stopped", "exited")
        assert summary.next_retry_at is None


@pytest.mark.slow
async def test_a_hanging_native_plugin_is_found_and_replaced(lab: Lab) -> None:
    lab.plugin("native", "serve_native()")
    async with lab.manager(**QUICK, heartbeat=0.1) as runtime:
        await runtime.start_all()
        pid = runtime.summary("native").pid
        os.kill(pid, signal.SIGSTOP)
        await until(lambda: runtime.summary("native").generation == 2)
        await until_status(runtime, "native", "Running")
        assert not is_alive(pid)
        (crash,) = runtime.summary("native").crashes
        assert "pings" in crash.reason


@pytest.mark.slow
async def test_a_hanging_classic_plugin_is_found_by_its_lane(lab: Lab) -> None:
    lab.plugin("classic", ECHO)
    async with lab.manager(**QUICK, stuck_after=0.3) as runtime:
        await runtime.start_all()
        pid = runtime.summary("classic").pid
        os.kill(pid, signal.SIGSTOP)
        runtime.notify("e", {})
        await until(lambda: runtime.summary("classic").generation == 2)
        await until_status(runtime, "classic", "Running")
        assert not is_alive(pid)


@pytest.mark.slow
@pytest.mark.parametrize(
    "serves",
    ["serve(lambda event: {'status': 'ok', 'data': note(event)})", "serve_native(note)"],
    ids=["classic", "native"],
)
async def test_a_restart_loses_nothing_and_doubles_nothing(lab: Lab, serves: str) -> None:
    """A thousand events a second, each sent in its time, whatever became of those before it."""
    code = """
    log = open("seen", "a", buffering=1)
    def note(event):
        if event["event"] == "e":  # the host has events of its own
            log.write(f"{os.getpid()} {event['payload']}\\n")
        return event["payload"]
    """
    directory = lab.plugin("echo", dedent(code) + serves)
    async with lab.manager() as runtime:
        await runtime.start_all()
        calls: list[asyncio.Task[object]] = []
        done = asyncio.Event()
        began = time.monotonic()

        async def load() -> None:
            while not done.is_set():
                while len(calls) < (time.monotonic() - began) * RATE:
                    call = runtime.request("echo", "e", len(calls))
                    calls.append(asyncio.create_task(call))
                await asyncio.sleep(0.001)

        load_task = asyncio.create_task(load())
        pids = [runtime.summary("echo").pid]
        for _ in range(3):
            sent = len(calls)
            await runtime.restart_plugin("echo")
            pids.append(runtime.summary("echo").pid)
            await until(lambda sent=sent: len(calls) > sent + RATE / 2, "half a second of load")
        done.set()
        await load_task
        took = time.monotonic() - began
        answers = await asyncio.gather(*calls)
        assert len(calls) >= 0.95 * RATE * took
        assert answers == list(range(len(calls)))
    seen = [line.split() for line in (directory / "seen").read_text().splitlines()]
    assert sorted(int(number) for _, number in seen) == list(range(len(calls)))
    assert list(dict.fromkeys(int(pid) for pid, _ in seen)) == pids


async def test_the_old_process_answers_what_it_has_in_flight(lab: Lab) -> None:
    code = """
    def answer(event):
        time.sleep(event["payload"])
        return {"status": "ok", "data": os.getpid()}
    serve(answer)
    """
    lab.plugin("slow", code)
    async with lab.manager() as runtime:
        await runtime.start_all()
        old = runtime.summary("slow").pid
        call = asyncio.create_task(runtime.request("slow", "e", 0.5))
        await until(lambda: runtime.summary("slow").in_flight)
        await runtime.restart_plugin("slow")
        assert await call == old
        assert await runtime.request("slow", "e", 0) == runtime.summary("slow").pid != old
        assert not is_alive(old)


async def test_a_new_process_that_comes_while_it_is_ended_takes_nothing_over(lab: Lab) -> None:
    """Its time is up, it is told to go, and only then it shakes hands."""
    code = """
    def late(*_):
        answer = Connection().greet()
        open("answer", "w").write(json.dumps(answer))
        os._exit(0)
    if os.path.exists("been-here"):
        signal.signal(signal.SIGINT, late)
        time.sleep(600)
    open("been-here", "w").close()
    serve()
    """
    directory = lab.plugin("late", code)
    async with lab.manager(handshake_timeout=0.5) as runtime:
        await runtime.start_all()
        old = runtime.summary("late").pid
        with pytest.raises(PluginStartError, match="the old one keeps running"):
            await runtime.restart_plugin("late")
        assert json.loads((directory / "answer").read_text())["status"] == "error"
        assert runtime.summary("late").pid == old
        assert await runtime.request("late", "e", 1) == {"echo": 1}


async def test_if_the_new_process_fails_the_old_one_serves_on(lab: Lab) -> None:
    directory = lab.plugin("echo", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        pid = runtime.summary("echo").pid
        lab.script(
            directory / "echo", "print('syntax error in line 7', file=sys.stderr)\nsys.exit(1)"
        )
        with pytest.raises(PluginStartError, match=r"line 7.*keeps running"):
            await runtime.restart_plugin("echo")
        summary = runtime.summary("echo")
        assert (summary.status, summary.pid) == ("Running", pid)
        assert "line 7" in summary.reason
        assert await runtime.request("echo", "e", 1) == {"echo": 1}


async def test_an_exclusive_plugin_stops_first(lab: Lab) -> None:
    code = """
    import fcntl
    lock = open("lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    serve()
    """
    lab.plugin("sole", code, exclusive=True)
    async with lab.manager() as runtime:
        await runtime.start_all()
        await runtime.restart_plugin("sole")
        assert runtime.summary("sole").generation == 2


async def test_a_stop_beats_a_restart_that_is_under_way(lab: Lab) -> None:
    directory = lab.plugin("echo", "open('pid', 'w').write(f'{os.getpid()}\\n')\n" + ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        slow = "open('pid', 'w').write(f'{os.getpid()}\\n')\ntime.sleep(60)"
        old = await pid_in(directory / "pid")
        lab.script(directory / "echo", slow)
        restart = asyncio.create_task(runtime.restart_plugin("echo"))
        await until(lambda: runtime.summary("echo").substate == "replacing")
        await until(lambda: (directory / "pid").read_text() not in ("", f"{old}\n"))
        await runtime.stop_plugin("echo")
        with pytest.raises(PluginStartError):
            await restart
        assert runtime.summary("echo").status is PluginStatus.STOPPED
        for pid in (old, await pid_in(directory / "pid")):
            assert not is_alive(pid)


async def test_an_event_that_kills_twice_is_kept_from_the_plugin(lab: Lab) -> None:
    code = """
    def answer(event):
        if event["payload"] == "poison":
            os.abort()
        return {"status": "ok", "data": event["payload"]}
    serve(answer)
    """
    lab.plugin("echo", code)
    async with lab.manager(**QUICK) as runtime:
        await runtime.start_all()
        for generation in (2, 3):
            outcome = await runtime.emit("message.incoming", "poison")
            assert not outcome.results[0].ok
            await until(lambda wanted=generation: runtime.summary("echo").generation == wanted)
            await until_status(runtime, "echo", "Running")
        (crash, _) = runtime.summary("echo").crashes
        assert crash.in_flight == ("message.incoming",)
        (kept,) = runtime.summary("echo").quarantine
        assert (kept.event, kept.payload) == ("message.incoming", '"poison"')
        for outcome in (
            await runtime.emit("message.incoming", "poison"),
            await runtime.broadcast("message.incoming", "poison"),
        ):
            assert "quarantine" in outcome.results[0].error
        assert runtime.notify("message.incoming", "poison") == 0
        assert await runtime.request("echo", "message.incoming", "food") == "food"
        assert runtime.summary("echo").quarantine[0].skipped == 3
        assert runtime.summary("echo").generation == 3


SLOW = """
def answer(event):
    if event["payload"] == "slow":
        time.sleep(300)
    return {"status": "ok", "data": event["payload"]}
serve(answer)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
async def test_an_end_from_outside_blames_no_event(lab: Lab, number: signal.Signals) -> None:
    lab.plugin("echo", SLOW)
    async with lab.manager(**QUICK) as runtime:
        await runtime.start_all()
        for generation in (2, 3):
            asked = asyncio.create_task(runtime.emit("e", "slow"))
            behind = asyncio.create_task(runtime.emit("e", "behind"))
            await until(lambda: runtime.summary("echo").in_flight == 2)
            os.kill(runtime.summary("echo").pid or 0, number)
            assert not (await asked).results[0].ok
            assert not (await behind).results[0].ok
            await until(lambda wanted=generation: runtime.summary("echo").generation == wanted)
            await until_status(runtime, "echo", "Running")
        kept = [event.payload for event in runtime.summary("echo").quarantine]
        # What waited behind the slow event is not suspect either way.
        assert kept == ([] if number == signal.SIGKILL else ['"slow"'])


FORKS = """
def answer(event):
    if os.fork() == 0:
        time.sleep(300)
    os._exit(7)
serve(answer)
"""


async def test_calls_end_with_their_leader_whoever_holds_its_socket(lab: Lab) -> None:
    lab.plugin("forks", FORKS)
    async with lab.manager(**QUICK, event_timeout=30) as runtime:
        await runtime.start_all()
        began = time.monotonic()
        with pytest.raises(PluginUnavailableError, match="exited: code 7 before it answered"):
            await runtime.request("forks", "e", 1)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("order", ["start_plugin", "restart_plugin", "release_plugin"])
async def test_an_operator_lifts_the_quarantine(lab: Lab, order: str) -> None:
    lab.plugin("echo", SLOW)
    async with lab.manager(**QUICK) as runtime:
        await runtime.start_all()
        for generation in (2, 3):
            asked = asyncio.create_task(runtime.emit("e", "slow"))
            await until(lambda: runtime.summary("echo").in_flight == 1)
            os.kill(runtime.summary("echo").pid or 0, signal.SIGSEGV)
            await asked
            await until(lambda wanted=generation: runtime.summary("echo").generation == wanted)
            await until_status(runtime, "echo", "Running")
        assert runtime.summary("echo").quarantine
        await getattr(runtime, order)("echo")
        assert runtime.summary("echo").quarantine == ()


async def test_who_no_longer_wants_a_place_leaves_it_to_the_next(lab: Lab) -> None:
    lab.plugin("a-slow", "time.sleep(0.5)\nserve()")
    for name in ("b-stopped", "c-next", "d-last"):
        lab.plugin(name, ECHO)
    async with lab.manager(start_concurrency=1) as runtime:
        starts = asyncio.create_task(runtime.start_all())
        waiting = ("b-stopped", "c-next", "d-last")
        await until(lambda: len(runtime.runtime_summaries()) == 4)
        for name in waiting:
            await until(lambda name=name: runtime.summary(name).substate == "waiting")
        await runtime.stop_plugin("b-stopped")
        await asyncio.wait_for(starts, 10)
        found = {one.name: one.status for one in runtime.runtime_summaries()}
        assert found.pop("b-stopped") == "Installed"
        assert set(found.values()) == {"Running"}


@pytest.mark.slow
async def test_many_that_fall_together_do_not_rise_together(lab: Lab) -> None:
    for number in range(50):
        lab.plugin(f"echo{number:02}", ECHO)
    async with lab.manager(restart="always", start_concurrency=4) as runtime:
        await runtime.start_all()
        for summary in runtime.runtime_summaries():
            os.kill(summary.pid, signal.SIGKILL)

        def starting() -> int:
            return sum(s.substate == "spawned" for s in runtime.runtime_summaries())

        def is_back(summary: PluginSummary) -> bool:
            return summary.status == "Running" and summary.generation == 2

        most, waits = 0, {}
        while not all(map(is_back, runtime.runtime_summaries())):
            most = max(most, starting())
            for summary in runtime.runtime_summaries():
                if summary.substate == "backoff":
                    waits[summary.name] = summary.next_retry_at - summary.crashes[-1].at
            await asyncio.sleep(0.002)
        assert most <= 4
        assert max(waits.values()) - min(waits.values()) > 0.2  # of half a second, the first delay
