import os
from itertools import islice

import pytest

from vconnect import Context, Plugin, PluginClient, on
from vconnect.sdk.client import HostWatch, retry_delays


class Example(Plugin):
    plugin_no = "wk.plugin.example"

    @on("message")
    def message(self, ctx: Context) -> None: ...


def test_ten_tries_half_a_second_apart_then_less_and_less_often():
    delays = list(islice(retry_delays(), 20))
    assert delays[:10] == [0.5] * 10
    for delay, longest in zip(delays[10:], [1, 2, 4, 5, 5, 5, 5, 5, 5, 5], strict=True):
        assert 0.75 * longest <= delay <= longest


def test_no_host_is_never_gone():
    assert not HostWatch(None).is_gone()


def test_a_live_host_is_not_gone():
    assert not HostWatch(os.getpid()).is_gone()


def test_a_process_of_somebody_else_is_not_gone():
    assert not HostWatch(1).is_gone()


def test_no_such_process_is_gone():
    assert HostWatch(2**22 + 1).is_gone()  # above the highest process id of any system


def test_a_new_parent_means_that_the_host_is_gone(monkeypatch):
    watch = HostWatch(os.getpid())
    monkeypatch.setattr(os, "getppid", lambda: 1)
    assert watch.is_gone()


def test_mistakes_of_the_author_show_at_once():
    plugin = Example()
    plugin.plugin_no = ""
    with pytest.raises(TypeError, match="plugin_no"):
        PluginClient(plugin, "x.sock")


async def test_stopped_before_it_began():
    client = PluginClient(Example(), "/nonexistent/x.sock")
    client.stop()
    await client.run()


async def test_gone_before_it_began():
    await PluginClient(Example(), "/nonexistent/x.sock", host_pid=2**22 + 1).run()
