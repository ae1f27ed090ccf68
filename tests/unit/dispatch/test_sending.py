"""Nothing is sent by a host that is not open."""

from __future__ import annotations

from typing import Any

import pytest

from vconnect.dispatch.dispatcher import Dispatcher
from vconnect.dispatch.sending import Sender
from vconnect.errors import NotOpenError, UnknownPluginError
from vconnect.plugins.registry import Registry
from vconnect.settings.model import Settings

CALLS: list[tuple[str, tuple[Any, ...]]] = [
    ("emit", ("e", 1)),
    ("broadcast", ("e", 1)),
    ("request", ("a", "e", 1)),
    ("request_result", ("a", "e", 1)),
    ("notify", ("e", 1)),
    ("notify_when_room", ("e", 1)),
]


@pytest.fixture
def sender() -> Sender:
    return Sender(Dispatcher(Registry(Settings().event_policy), 1 << 20))


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_each_call_is_refused_at_once(sender: Sender, name: str, arguments: tuple[Any, ...]):
    for _ in range(2):
        with pytest.raises(NotOpenError, match="async with"):
            getattr(sender, name)(*arguments)
        sender._open_sending()
        sender._close_sending()


async def test_an_open_one_sends(sender: Sender):
    sender._open_sending()
    assert (await sender.emit("e", 1)).results == []
    assert sender.notify("e", 1) == 0
    with pytest.raises(UnknownPluginError):
        await sender.request("a", "e", 1)
