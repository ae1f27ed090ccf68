"""Which supervisor is whose, with plugins on paper."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.paper import PaperLauncher, plugin, supervisor
from tests.support.wire_kit import until

from vconnect.errors import PluginStartError
from vconnect.host import roster
from vconnect.host.roster import Roster
from vconnect.plugins.runtime import PluginRuntime
from vconnect.processes.tree import Origin
from vconnect.supervision.supervisor import Supervisor


class Staff(Roster):
    """A roster that remembers whom it hired, and whose launcher is the test's."""

    def __init__(self) -> None:
        super().__init__(self._new)
        self.launcher = PaperLauncher()
        self.hired: list[Supervisor] = []

    def _new(self, runtime: PluginRuntime) -> Supervisor:
        self.hired.append(supervisor(runtime, self.launcher, restart="never"))
        return self.hired[-1]


@pytest.fixture
async def staff() -> AsyncIterator[Staff]:
    made = Staff()
    yield made
    for one in made.hired:
        await one.close()
    await made.closed()


async def starting(staff: Staff, runtime: PluginRuntime) -> Supervisor:
    """Return the supervisor of a plugin that waits for its handshake."""
    one, before = staff.of(runtime), len(staff.launcher.started)
    start = asyncio.create_task(one.start())
    await until(lambda: len(staff.launcher.started) > before)
    start.cancel()  # only the waiting
    return one


async def test_each_plugin_has_one(staff):
    a, b = plugin("a"), plugin("b")
    assert staff.of(a) is staff.of(a)
    assert staff.of(b) is not staff.of(a)
    assert [one.plugin for one in staff] == [a, b]
    assert (staff.find("a"), staff.find("c")) == (staff.of(a), None)


async def test_a_plugin_of_the_same_name_gets_another_one(staff):
    old = staff.of(plugin("a"))
    new = staff.of(plugin("a"))
    assert staff.find("a") is new
    await staff.closed()
    with pytest.raises(PluginStartError, match="the host is stopping"):
        await old.start()


async def test_nobody_is_hired_by_a_host_that_stops(staff):
    known = staff.of(plugin("a"))
    staff.begin_closing()
    assert staff.of(known.plugin) is known
    for stranger in (plugin("b"), plugin("a")):
        with pytest.raises(PluginStartError, match="the host is stopping"):
            staff.of(stranger)
    assert list(staff) == [known]


async def test_a_leader_is_known_by_its_number(staff):
    one, other = [await starting(staff, plugin(name)) for name in "ab"]
    first, second = staff.launcher.started
    first.process.relatives = {second.process.pid}  # it says so, but the leader is another's
    assert staff.owner(first.process.pid) == (one, first)
    assert staff.owner(second.process.pid) == (other, second)


async def test_the_others_by_their_session(staff):
    await starting(staff, plugin("a"))
    other = await starting(staff, plugin("b"))
    staff.launcher.started[1].process.relatives = {42}
    assert staff.owner(42) == (other, staff.launcher.started[1])
    assert staff.owner(43) is None


async def test_at_last_by_descent_or_cgroup_which_are_looked_up_once(staff, monkeypatch):
    looked: list[int] = []

    def origin(pid: int) -> Origin:
        looked.append(pid)
        return Origin((staff.launcher.started[1].process.pid,) if pid == 42 else (), "")

    monkeypatch.setattr(roster, "origin_of", origin)
    assert staff.owner(42) is None
    await starting(staff, plugin("a"))
    other = await starting(staff, plugin("b"))
    assert staff.owner(42) == (other, staff.launcher.started[1])
    assert staff.owner(43) is None
    assert looked == [42, 43]


async def test_an_iteration_survives_a_new_plugin(staff):
    staff.of(plugin("a"))
    for one in staff:
        staff.of(plugin(f"{one.plugin.name}2"))
    assert len(list(staff)) == 2
