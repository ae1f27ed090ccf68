"""Who is where, and what was said there. No network, no plugins."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Protocol

from .protocol import Message, Presence, Rooms, RoomSize, RoomState, ToClient, User

KEPT_MESSAGES = 50
ROOMS = ("lobby", "plugins", "random")


class Member(Protocol):
    """Somebody who is connected."""

    @property
    def user(self) -> User:
        """Who it is."""

    def send(self, message: ToClient) -> None:
        """Send something, without waiting."""


class Room:
    """One room: its members and its last messages."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: dict[str, Member] = {}
        self._messages: deque[Message] = deque(maxlen=KEPT_MESSAGES)

    @property
    def users(self) -> list[User]:
        return [member.user for member in self.members.values()]

    def state(self) -> RoomState:
        return RoomState(self.name, self.users, list(self._messages))

    def presence(self) -> Presence:
        return Presence(self.name, self.users)

    def keep(self, message: Message) -> None:
        self._messages.append(message)

    def tell(self, message: ToClient, *, but: str = "") -> None:
        """Send something to all members, or to all but one."""
        for uid, member in list(self.members.items()):
            if uid != but:
                member.send(message)


class House:
    """All rooms. A member is in exactly one of them."""

    def __init__(self, names: Iterable[str] = ROOMS) -> None:
        self.rooms = {name: Room(name) for name in names}
        self.first = next(iter(self.rooms.values()))
        self._where: dict[str, Room] = {}

    def room_of(self, member: Member) -> Room:
        return self._where[member.user.uid]

    def sizes(self) -> list[RoomSize]:
        return [RoomSize(room.name, len(room.members)) for room in self.rooms.values()]

    def free_name(self, wanted: str) -> str:
        """Return the name, with a number behind it if somebody has it already."""
        taken = {user.name.casefold() for room in self.rooms.values() for user in room.users}
        name, number = wanted, 2
        while name.casefold() in taken:
            name, number = f"{wanted} {number}", number + 1
        return name

    def enter(self, member: Member, room: Room) -> None:
        """Put a member into a room, out of any other, and tell everybody concerned."""
        before = self._take_out(member)
        room.members[member.user.uid] = member
        self._where[member.user.uid] = room
        member.send(room.state())
        room.tell(room.presence(), but=member.user.uid)
        if before is not None:
            before.tell(before.presence())
        self._tell_sizes()

    def leave(self, member: Member) -> None:
        """Take a member out, and tell the others."""
        room = self._take_out(member)
        if room is not None:
            room.tell(room.presence())
            self._tell_sizes()

    def tell_all(self, message: ToClient) -> None:
        for room in self.rooms.values():
            room.tell(message)

    def _take_out(self, member: Member) -> Room | None:
        room = self._where.pop(member.user.uid, None)
        if room is not None:
            del room.members[member.user.uid]
        return room

    def _tell_sizes(self) -> None:
        self.tell_all(Rooms(self.sizes()))
