"""To whom a connection belongs, and who is told of it: with plugins on paper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.support.paper import (
    ME,
    PaperLauncher,
    catalog,
    host_calls,
    opened,
    plugin,
    shaken,
    supervisor,
    unopened,
)
from tests.support.wire_kit import until

from vconnect.errors import HandshakeError
from vconnect.host.gatekeeper import HostGatekeeper
from vconnect.host.roster import Roster
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.sockets.credentials import Peer
from vconnect.supervision import reconnects
from vconnect.supervision.supervisor import Supervisor
from vconnect.watching.loop_watch import LoopWatch
from vconnect.wire.session import Session


class Gate:
    """A gatekeeper, and everything that it asks."""

    def __init__(self, directory: Path, *, allow_external: bool = True) -> None:
        self.registry = Registry()
        self.sessions: list[Session] = []
        self.launcher = PaperLauncher()
        self.roster = Roster(
            lambda runtime: supervisor(
                runtime, self.launcher, restart="never", allow_external=allow_external
            )
        )
        self.calls = host_calls(self.registry)
        self.keeper = HostGatekeeper(
            self.registry,
            catalog(self.registry, directory),
            self.roster,
            self.calls,
            loop_watch=LoopWatch(),
            allow_external=allow_external,
        )

    async def starts(self, runtime: PluginRuntime) -> tuple[Supervisor, Peer]:
        """Start a plugin up to its handshake; return its supervisor and its process."""
        self.registry.add(runtime)
        one, before = self.roster.of(runtime), len(self.launcher.started)
        start = asyncio.create_task(one.start())
        await until(lambda: len(self.launcher.started) > before)
        start.cancel()
        return one, Peer(self.launcher.last.pid, ME.uid)

    def refuses(self, name: str, peer: Peer = ME) -> str:
        with pytest.raises(HandshakeError) as caught:
            self.keeper.admit(shaken(name), peer, self.keeper.owner(peer))
        return caught.value.code

    def enters(self, session: Session, peer: Peer = ME) -> None:
        owner = self.keeper.owner(peer)
        self.keeper.admit(session.handshake, peer, owner)
        self.keeper.attached(session, owner)
        self.sessions.append(session)

    async def close(self) -> None:
        for session in self.sessions:  # on paper, no connection tells of its end
            self.keeper.detached(session, None)
        for one in self.roster:
            await one.close()


GONE = -1
"""The start time of a peer whose process has ended."""


@pytest.fixture
async def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gate]:
    monkeypatch.setattr("vconnect.host.gatekeeper.is_still", lambda peer: peer.start != GONE)
    made = Gate(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def closed_gate(tmp_path: Path) -> AsyncIterator[Gate]:
    made = Gate(tmp_path, allow_external=False)
    yield made
    await made.close()


async def test_a_process_of_ours_comes_in_under_its_name(gate):
    _, peer = await gate.starts(plugin("a"))
    gate.enters(unopened("a"), peer)
    assert gate.registry.get("a").status is PluginStatus.RUNNING


async def test_and_under_another_of_its_names(gate):
    one, peer = await gate.starts(plugin("a", plugin_no="number"))
    session = unopened("number")
    gate.enters(session, peer)
    assert one.plugin.session is session
    gate.keeper.detached(session, None)
    assert one.plugin.session is None


@pytest.mark.parametrize("name", ["b", "unknown"])
async def test_but_not_under_somebody_elses(gate, name):
    gate.registry.add(plugin("b"))
    _, peer = await gate.starts(plugin("a"))
    assert gate.refuses(name, peer) == "stranger"
    assert gate.registry.find("unknown") is None


@pytest.mark.parametrize("name", ["shared", "beta"])
async def test_the_other_plugin_of_that_name_is_named(gate, name):
    gate.registry.add(plugin("beta", Path("/p/beta"), plugin_no="shared"))
    _, peer = await gate.starts(plugin("a"))
    with pytest.raises(HandshakeError) as caught:
        gate.keeper.admit(shaken(name), peer, gate.keeper.owner(peer))
    assert f"{name!r}, but was started as 'a', and beta (/p/beta) has" in str(caught.value)


async def test_a_stranger_is_registered_where_that_is_allowed(gate):
    session = unopened("guest")
    gate.enters(session)
    known = gate.registry.get("guest")
    assert (known.session, known.substate) == (session, Substate.EXTERNAL)
    gate.keeper.detached(session, None)
    await until(lambda: known.status is PluginStatus.STOPPED)


async def test_and_leaves_no_trace_where_it_is_not(closed_gate):
    assert closed_gate.refuses("guest") == "stranger"
    assert len(closed_gate.registry) == 0
    assert list(closed_gate.roster) == []


async def test_another_user_leaves_no_trace_either(gate):
    assert gate.refuses("guest", Peer(ME.pid, ME.uid + 1)) == "stranger"
    assert len(gate.registry) == 0


async def test_a_second_guest_of_one_name_is_refused(gate):
    gate.enters(unopened("guest"))
    assert gate.refuses("guest") == "name_taken"


async def test_a_guest_whom_the_operator_has_stopped_stays_out(gate):
    session = unopened("guest")
    gate.enters(session)
    gate.keeper.detached(session, None)
    await gate.roster.of(gate.registry.get("guest")).stop()
    assert gate.refuses("guest") == "stopping"


async def test_a_refusal_is_told_to_the_supervisor_of_the_process(gate):
    one, peer = await gate.starts(plugin("a"))
    gate.keeper.refused(gate.keeper.owner(peer), HandshakeError("bad_name", "no name"))
    await until(lambda: one.plugin.substate is Substate.HANDSHAKE_REFUSED)
    gate.keeper.refused(None, HandshakeError("bad_name", "no name"))


async def test_the_end_of_a_session_of_a_plugin_that_is_gone_is_no_news(gate):
    session = unopened("guest")
    gate.keeper.detached(session, None)
    gate.keeper.called(session, b'{"id":1,"call":"log"}')


async def test_a_process_that_connects_all_the_time_is_ended(gate, monkeypatch):
    monkeypatch.setattr(reconnects, "MAX_CONNECTIONS", 3)
    one, peer = await gate.starts(plugin("a"))
    for _ in range(4):
        assert one.plugin.status is not PluginStatus.ERROR
        session = unopened("a")
        gate.enters(session, peer)
        gate.keeper.detached(session, None)
    gate.sessions.clear()
    await until(lambda: one.plugin.status is PluginStatus.ERROR)
    assert one.plugin.reason.startswith("it connected 60 times within 10 s")


async def test_a_stranger_that_connects_all_the_time_is_refused(gate, monkeypatch):
    monkeypatch.setattr(reconnects, "MAX_CONNECTIONS", 3)
    for _ in range(3):
        session = unopened("guest")
        gate.enters(session)
        gate.keeper.detached(session, None)
        await asyncio.sleep(0.01)
    gate.sessions.clear()
    assert gate.refuses("guest") == "overloaded"
    gate.enters(unopened("other"))


async def test_calls_are_served_until_the_session_ends(gate):
    served: list[str] = []
    gate.calls.register("note", lambda call: served.append(call.plugin))
    async with opened("guest", native=True) as (session, peer, _):
        gate.enters(session)
        session.permissions = ("note",)
        gate.keeper.called(session, b'{"id":1,"call":"note"}')
        assert await peer.read() == {"id": 1, "status": "ok"}
        gate.keeper.called(session, b'{"id":2,"call":"note"}')
        gate.keeper.detached(session, None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert served == ["guest"]


async def test_a_process_that_has_ended_is_nobodys_and_not_let_in(gate):
    _, peer = await gate.starts(plugin("alpha"))
    assert gate.keeper.owner(peer) is not None
    peer = msgspec.structs.replace(peer, start=GONE)
    assert gate.keeper.owner(peer) is None
    for name in ("alpha", "unheard-of"):
        with pytest.raises(HandshakeError, match="has ended; connect from the process") as refused:
            gate.keeper.admit(shaken(name), peer, None)
        assert refused.value.code == "stranger"
    assert gate.registry.find("unheard-of") is None


async def test_who_cannot_serve_is_not_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr("vconnect.host.gatekeeper.is_still", lambda _: True)
    gate = Gate(tmp_path, allow_external=True)
    with pytest.raises(HandshakeError, match="no licence"):
        gate.keeper.admit(shaken("guest", disable="no licence"), ME, None)
    assert gate.registry.find("guest") is None
    await gate.close()


async def test_guests_that_have_gone_are_forgotten_if_there_are_many(gate, monkeypatch):
    monkeypatch.setattr("vconnect.plugins.catalog._MAX_GONE", 3)
    for number in range(6):
        gate.keeper.admit(shaken(f"guest{number}"), ME, None)
        gate.registry.get(f"guest{number}").status = PluginStatus.STOPPED  # it has gone again
    assert [one.name for one in gate.registry] == ["guest3", "guest4", "guest5"]
    assert [one.plugin.name for one in gate.roster] == ["guest3", "guest4", "guest5"]
