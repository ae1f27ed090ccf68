"""What the page and the server say to each other: JSON objects with a ``type``, one per frame.

The structs check what a client sends. What they do not accept is no mistake of a person, but of a
program, and ends the connection.
"""

from __future__ import annotations

import secrets
import time
from typing import Annotated

import msgspec

MAX_FRAME_BYTES = 4096
MAX_NAME_CHARS = 24

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Room = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
Nonce = Annotated[str, msgspec.Meta(max_length=40)]


# What a client sends.


class Hello(msgspec.Struct, tag="hello", tag_field="type"):
    """The first frame: who is there. An empty room means the first one."""

    name: Name
    room: str = ""


class Join(msgspec.Struct, tag="join", tag_field="type"):
    """Go to another room."""

    room: Room


class Say(msgspec.Struct, tag="say", tag_field="type"):
    """Say something in a room. The answer, a `Message` or a `Refused`, has the same nonce."""

    room: Room
    text: Text
    nonce: Nonce = ""


class Typing(msgspec.Struct, tag="typing", tag_field="type"):
    """Begin or end typing."""

    on: bool


FromClient = Hello | Join | Say | Typing


# What the server sends.


class User(msgspec.Struct):
    """A person, or a bot."""

    uid: str
    name: str


class RoomSize(msgspec.Struct):
    """A room in the list of all rooms."""

    name: str
    people: int


class Message(msgspec.Struct, tag="message", tag_field="type", omit_defaults=True):
    """A message that has passed the plugins; ``by`` names those that changed it."""

    id: str
    room: str
    sender: User = msgspec.field(name="from")
    text: str
    at: float
    by: list[str] = []
    bot: bool = False
    nonce: str = ""


class Welcome(msgspec.Struct, tag="welcome", tag_field="type"):
    """The answer to a `Hello`. The name may have got a number."""

    uid: str
    name: str
    rooms: list[RoomSize]


class RoomState(msgspec.Struct, tag="room", tag_field="type"):
    """A room that was entered: who is in it, and its last messages."""

    room: str
    users: list[User]
    messages: list[Message]


class Presence(msgspec.Struct, tag="presence", tag_field="type"):
    """Who is in the client's room now."""

    room: str
    users: list[User]


class Rooms(msgspec.Struct, tag="rooms", tag_field="type"):
    """How many people are in each room."""

    rooms: list[RoomSize]


class SomebodyTypes(msgspec.Struct, tag="typing", tag_field="type"):
    """Somebody else in the room types, or has ended."""

    uid: str
    name: str
    on: bool


class Refused(msgspec.Struct, tag="refused", tag_field="type"):
    """A message that nobody got. Only its sender is told."""

    nonce: str
    code: str
    message: str


class Notice(msgspec.Struct, tag="notice", tag_field="type"):
    """A line from the server itself."""

    text: str


class PluginState(msgspec.Struct, frozen=True):
    """A plugin in the strip: ``running``, ``starting``, ``stopped`` or ``down``, and why."""

    name: str
    state: str
    why: str


class Plugins(msgspec.Struct, tag="plugins", tag_field="type"):
    """The strip of plugins. The dashboard's address is empty if it has none for browsers."""

    plugins: list[PluginState]
    dashboard: str


ToClient = (
    Welcome | RoomState | Message | Presence | Rooms | SomebodyTypes | Refused | Notice | Plugins
)


class BadNameError(ValueError):
    """A name that nobody can have; the text says why."""


_decoder: msgspec.json.Decoder[FromClient] = msgspec.json.Decoder(FromClient)
_encoder = msgspec.json.Encoder()


def decode(text: str) -> FromClient:
    """Read a client's frame.

    Raises:
        msgspec.DecodeError: It is not JSON, of no known type, or a field is wrong.
    """
    return _decoder.decode(text)


def encode(message: ToClient) -> str:
    return _encoder.encode(message).decode()


def clean_name(name: str) -> str:
    """Return a name with single spaces.

    Raises:
        BadNameError: It is empty, too long, or has characters that cannot be seen.
    """
    name = " ".join(name.split())
    if not name:
        raise BadNameError("a name has at least one letter")
    if len(name) > MAX_NAME_CHARS:
        raise BadNameError(f"a name has at most {MAX_NAME_CHARS} characters")
    if not name.isprintable():
        raise BadNameError("a name has no invisible characters")
    return name


def new_id() -> str:
    return secrets.token_hex(6)


def now() -> float:
    return round(time.time(), 3)
