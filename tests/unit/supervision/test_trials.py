"""New versions: tried once, current when they are ready, and the old one when they are not."""

from __future__ import annotations

import asyncio

import pytest
from tests.support.paper import plugin, unopened, version
from tests.support.stage import Stage
from tests.support.wire_kit import until

from vconnect.errors import HandshakeError, PluginStartError
from vconnect.plugins.restarts import Ended
from vconnect.plugins.status import PluginStatus, Substate
from vconnect.supervision.endings import failed_start
from vconnect.supervision.trials import Trials

NO_PROGRAM = failed_start(Substate.SPAWN_FAILED, "no program", Ended.PERMANENT)
NOT_YET = failed_start(Substate.SPAWN_FAILED, "requires y", Ended.TRANSIENT)


async def restarting(stage: Stage) -> asyncio.Task[None]:
    """Begin the restart of a running plugin with a new version, up to the successor's process."""
    await stage.up()
    stage.plugin.next_version = version()
    order = asyncio.create_task(stage.one.restart())
    await stage.starts(2)
    assert stage.launcher.started[-1].trial == version()
    return order


async def test_a_new_version_is_current_before_its_first_event(stage):
    order = await restarting(stage)
    stage.releases.gate.clear()
    old, new = stage.sessions[0], stage.shake()
    await asyncio.sleep(0.02)
    assert stage.plugin.session is old
    stage.releases.gate.set()
    await order
    assert stage.plugin.session is new
    assert stage.releases.told == ["current 2", "collect"]
    assert (stage.plugin.current_version, stage.plugin.next_version) == (version(), None)


async def test_a_new_version_that_is_not_ready_replaces_nobody(stage):
    order = await restarting(stage)
    session = stage.shake(session=unopened(native=True, is_ready=False))
    await asyncio.sleep(0.02)
    assert stage.plugin.session is stage.sessions[0]
    session.is_ready = True
    stage.one.became_ready(session)
    await order
    assert stage.plugin.session is session


@pytest.mark.parametrize("ready_first", [False, True])
async def test_a_new_version_that_ends_before_it_is_ready_leaves_the_old_one(stage, ready_first):
    order = await restarting(stage)
    if ready_first:
        stage.shake(session=unopened(native=True, is_ready=False))
    stage.launcher.last.die(1)
    with pytest.raises(PluginStartError, match="a new process failed: exited: code 1"):
        await order
    assert stage.plugin.session is stage.sessions[0]
    await until(lambda: stage.releases.told == ["failed 2: exited: code 1"])
    assert (stage.plugin.next_version, stage.plugin.current_version) == (None, None)


async def test_a_disk_that_refuses_leaves_the_old_version(stage):
    order = await restarting(stage)
    stage.releases.problem = "disk full"
    stage.shake()
    with pytest.raises(PluginStartError, match="version 2 cannot be made current: disk full"):
        await order
    assert stage.plugin.session is stage.sessions[0]
    assert stage.plugin.status is PluginStatus.RUNNING


@pytest.mark.parametrize("how", ["dies", "cannot start"])
async def test_without_an_old_process_the_old_version_is_started_in_the_same_order(stage, how):
    stage.plugin.next_version = version()
    if how == "cannot start":
        stage.launcher.troubles = [NO_PROGRAM]
    order = asyncio.create_task(stage.one.start())
    if how == "dies":
        await stage.starts(1)
        stage.launcher.last.die(3)
        await stage.starts(2)
    else:
        await stage.starts(1)
    assert stage.launcher.started[-1].trial is None
    stage.shake()
    await order
    assert stage.plugin.status is PluginStatus.RUNNING
    assert stage.releases.told[0].startswith("failed 2: ")
    assert stage.plugin.reason.startswith("version 2 did not get ready: ")
    assert stage.plugin.reason.endswith("; the version before it runs")


async def test_a_new_version_that_waits_for_another_plugin_is_tried_again(stages):
    stage = stages(restart="always")
    stage.plugin.next_version = version()
    stage.launcher.troubles = [NOT_YET]
    with pytest.raises(PluginStartError, match="requires y"):
        await stage.one.start()
    assert stage.plugin.next_version == version()
    order = asyncio.create_task(stage.one.start())
    await stage.starts(1)
    assert stage.launcher.started[-1].trial == version()
    stage.shake()
    await order
    assert stage.releases.told == ["current 2", "collect"]


async def test_a_restart_after_a_crash_is_one_of_the_version_that_was_ready(stages):
    stage = stages(restart="always", restart_delay=0.001)
    await stage.up()
    stage.plugin.next_version = version()
    stage.launcher.last.die(1)
    await stage.starts(2)
    assert stage.launcher.started[-1].trial is None
    assert stage.plugin.next_version == version()


async def test_a_stop_during_a_trial_is_no_failure(stage):
    order = await restarting(stage)
    assert await stage.one.stop()
    with pytest.raises(PluginStartError):
        await order
    assert stage.releases.told == []
    assert stage.plugin.next_version == version()


async def test_a_version_that_ends_while_it_is_made_current_has_been_ready(stage):
    order = await restarting(stage)
    stage.releases.gate.clear()
    stage.shake()
    await asyncio.sleep(0.01)
    stage.launcher.last.die(1)
    await asyncio.sleep(0.01)
    stage.releases.gate.set()
    with pytest.raises(PluginStartError):
        await order
    assert stage.plugin.current_version == version()
    assert stage.releases.told == ["current 2"]


async def test_a_failure_that_cannot_be_recorded_is_a_warning(caplog):
    stage = Stage()
    trials = Trials(runtime := plugin(), stage.releases)  # type: ignore[arg-type]
    runtime.next_version = version()
    stage.releases.problem = "read-only"
    trials.fail(version(), "exited: code 1")
    assert (trials.has_failed, trials.choose(is_ordered=True)) == (True, None)
    await trials.record_failure()
    assert not trials.has_failed
    assert "the failure is not recorded: read-only" in caplog.text
    await stage.one.close()


async def test_a_version_that_was_installed_meanwhile_keeps_its_try():
    stage = Stage()
    trials = Trials(runtime := plugin(), stage.releases)  # type: ignore[arg-type]
    runtime.next_version = version("3")
    trials.fail(version("2"), "no")
    await trials.make_current(version("2"))
    assert trials.choose(is_ordered=True) == version("3")
    await stage.one.close()


async def test_a_new_version_that_says_it_cannot_serve_here_has_failed(stage):
    order = await restarting(stage)
    stage.one.refused(stage.launcher.started[-1], HandshakeError("disabled", "needs a database"))
    with pytest.raises(PluginStartError, match="needs a database"):
        await order
    assert stage.plugin.session is stage.sessions[0]
    await until(lambda: stage.releases.told == ["failed 2: needs a database"])
