"""How the benchmark measures, with senders of the test's in place of plugins."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from tests.support.lab import Lab

from vconnect.bench import run as module
from vconnect.bench.works import Work
from vconnect.dispatch.results import Outcome, PluginResult
from vconnect.errors import ConfigError, PluginTimeoutError, VConnectError

WORK = Work(name="some work", in_flight=3, plugins=4, payload_bytes=100)


class Clock:
    """A clock that moves by one for each look, or by what a test wants."""

    def __init__(self, step: float = 1.0) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(module, "perf_counter", made)
    return made


class Sender:
    """Counts what is sent, and how much of it at the same time."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.count = self.now = self.most = 0
        self._fails_at = fails_at

    async def __call__(self) -> None:
        self.count += 1
        if self.count == self._fails_at:
            raise PluginTimeoutError("bench-0", "no answer")
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0)
        self.now -= 1


# --- percentiles -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "part", "value"),
    [
        (1, 0.50, 1),
        (1, 0.99, 1),
        (2, 0.50, 1),
        (3, 0.50, 2),
        (100, 0.50, 50),
        (100, 0.99, 99),
        (101, 0.99, 100),
        (1000, 0.99, 990),
        (10, 0.0, 1),
        (10, 1.0, 10),
    ],
)
def test_so_large_a_part_does_not_exceed_it(count, part, value):
    assert module._percentile([float(n) for n in range(1, count + 1)], part) == value


# --- sending ---------------------------------------------------------------------------------


@pytest.mark.parametrize("in_flight", [1, 7])
async def test_each_caller_sends_after_the_answer_to_its_last(clock, in_flight):
    send = Sender()
    latencies = await module._send_for(send, in_flight, 30 * in_flight)
    assert send.most == in_flight
    assert len(latencies) == send.count > in_flight
    assert latencies == sorted(latencies)
    assert send.now == 0


async def test_every_caller_sends_once_even_where_there_is_no_time(clock):
    send = Sender()
    assert len(await module._send_for(send, 5, 0.0)) == send.count == 5


async def test_the_first_failure_ends_it_as_itself(clock):
    with pytest.raises(PluginTimeoutError):
        await module._send_for(Sender(fails_at=5), 3, 1000)


async def test_a_result_holds_what_was_measured(clock):
    send = Sender()
    result = await module._measure(WORK, send, 90.0)
    assert result.work is WORK
    assert 0 < result.events < send.count  # without those of the warm-up
    assert 1e6 <= result.p50_us <= result.p99_us
    assert result.deliveries_per_second == pytest.approx(result.per_second * 4)
    assert result.bytes_per_second == pytest.approx(result.per_second * 4 * 100 * 2)


# --- what goes out ---------------------------------------------------------------------------


class Manager:
    """What of a manager sends: notes it, and answers what the test says."""

    def __init__(self, results: list[PluginResult]) -> None:
        self.sent: list[tuple[Any, ...]] = []
        self._outcome = Outcome(results, None, {})

    async def request(self, *asked: Any) -> None:
        self.sent.append(("request", *asked))

    async def emit(self, *asked: Any) -> Outcome:
        self.sent.append(("chain", *asked))
        return self._outcome

    async def broadcast(self, *asked: Any) -> Outcome:
        self.sent.append(("fan-out", *asked))
        return self._outcome


def results(*oks: bool) -> list[PluginResult]:
    return [
        PluginResult(plugin=f"p{n}", ok=ok, error=None if ok else f"e{n}")
        for n, ok in enumerate(oks)
    ]


@pytest.mark.parametrize("kind", ["request", "chain", "fan-out"])
async def test_each_kind_goes_its_way(kind):
    manager, work = Manager(results(True, True)), Work(name="w", kind=kind, plugins=2)
    await module._sender(cast(Any, manager), work)()
    to = ("bench-0",) if kind == "request" else ()
    assert manager.sent == [(kind, *to, work.event, work.payload)]


@pytest.mark.parametrize("kind", ["chain", "fan-out"])
@pytest.mark.parametrize(
    ("oks", "words"),
    [
        ((True, False, False), "w: e1"),
        ((True, True), "w: 2 plugins were .*"),
        ((True,) * 4, "w: 4 plugins were .*"),
    ],
)
async def test_an_event_that_not_all_have_answered_is_no_measurement(kind, oks, words):
    manager: Any = Manager(results(*oks))
    send = module._sender(manager, Work(name="w", kind=kind, plugins=3))
    with pytest.raises(VConnectError, match=f"^{words}$"):
        await send()


# --- the other end ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "words"),
    [("pass", ""), ("raise SystemExit('no luck')", "; .*: no luck")],
)
async def test_plugins_that_end_before_they_connect_are_told_with_their_last_words(
    lab: Lab, code, words
):
    async with lab.manager() as manager:
        with (lab.directory / "plugins.log").open("wb") as errors:
            peer = subprocess.Popen([sys.executable, "-S", "-c", code], stderr=errors)
        await asyncio.to_thread(peer.wait)
        with pytest.raises(VConnectError, match=f"^0 of 100 echo plugins are connected{words}$"):
            await module._until_connected(manager, peer, lab.directory)


async def test_plugins_that_do_not_connect_are_not_waited_for_for_ever(lab, monkeypatch):
    monkeypatch.setattr(module, "_CONNECT_SECONDS", 0.0)
    (lab.directory / "plugins.log").touch()
    async with lab.manager() as manager:
        with subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=-1) as peer:
            with pytest.raises(VConnectError, match="0 of 100"):
                await module._until_connected(manager, peer, lab.directory)
            await asyncio.to_thread(peer.communicate, b"\n")


@pytest.mark.parametrize("stubborn", [True, False])
def test_the_plugins_are_gone_at_the_end(tmp_path: Path, monkeypatch, stubborn):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\n" + ("trap '' TERM\n" if stubborn else "") + WAIT)
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.05)
    with module._peer(tmp_path) as peer:
        while not (tmp_path / "plugins.log").read_text().endswith("\n"):
            assert peer.poll() is None
    assert peer.returncode == (-9 if stubborn else -15)
    options = f"-m vconnect.bench.peer --socket {tmp_path / 'r.sock'} --plugins 100\n"
    assert (tmp_path / "plugins.log").read_text() == options


WAIT = 'echo "$*" >&2\nexec sleep 60\n'


def test_a_loop_that_is_not_there_is_told_before_anything_begins(monkeypatch):
    monkeypatch.setitem(sys.modules, "uvloop", None)
    with pytest.raises(ConfigError, match="uvloop is not installed"):
        module.run_bench(uvloop=True, progress=lambda _: None)
