"""Who waits for its turn to say who it is."""

from __future__ import annotations

import pytest

from vconnect.wire import waiting_room as module
from vconnect.wire.waiting_room import WaitingRoom


class Room(WaitingRoom):
    """Writes down who was turned away."""

    def __init__(self) -> None:
        super().__init__()
        self.turned_away: list[tuple[object, str]] = []

    def come(self, who: object, pid: int) -> None:
        def turn_away(words: str) -> None:
            self.leave(who)
            self.turned_away.append((who, words))

        self.enter(who, pid, turn_away)


def test_one_process_has_few() -> None:
    room = Room()
    for number in range(module.MAX_WAITING_OF_ONE + 2):
        room.come(number, 7)
    room.come("other", 8)
    most = module.MAX_WAITING_OF_ONE
    assert [who for who, _ in room.turned_away] == [most, most + 1]
    assert room.turned_away[0][1].startswith(f"{most} connections of PID 7 have not shaken hands")
    assert len(room) == most + 1
    room.leave(0)
    room.come("again", 7)
    assert len(room.turned_away) == 2


def test_the_oldest_of_all_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 4)
    room = Room()
    for number in range(6):
        room.come(number, 100 + number)
    assert [who for who, _ in room.turned_away] == [0, 1]
    assert len(room) == 4


def test_leaving_twice_is_leaving_once() -> None:
    room = Room()
    room.come("a", 7)
    room.leave("a")
    room.leave("a")
    room.leave("nobody")
    assert len(room) == 0
    assert not room._of
