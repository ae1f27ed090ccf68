"""A plugin that does its worst over the wire, for `benchmarks.attacks` and the tests.

Its name, ``VCONNECT_PLUGIN_NAME``, says what it does: one of `TURNS`, or ``nasty`` for all attacks,
a little of each in turn. It connects again whenever it is disconnected, and stops for nobody.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterable
from itertools import cycle
from typing import Any

TURN_S = 0.05
IN_FLIGHT = 16
STORM = 64
NAME = os.environ.get("VCONNECT_PLUGIN_NAME", "")


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def call(name: str, params: dict[str, Any], **more: Any) -> bytes:
    return frame(json.dumps({"call": name, "params": params, **more}).encode())


def nested(levels: int) -> Any:
    """Return a list in a list in a list."""
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


BOMB = frame(b'{"id":99,"status":"ok","data":[' + b"[]," * 100_000 + b"0]}")
FIELDS = frame(b'{"call":"log","params":{"fields":{' + b'"k":0,' * 5000 + b'"z":0}}}')
SMALL = call("log", {"message": "x"}) * 1000
SAID = call("event.publish", {"event": "chat.said", "payload": 1}) * 10
FORGET = call("event.unsubscribe", {"events": [f"e{number}" for number in range(1000)]})
NESTED = call("log", {"fields": {f"k{n}": nested(230) for n in range(8)}}) * 15
WIDE = call("log", {"fields": {"k": [[]] * 1300}}) * 15
NAMED = b'{"call":"event.publish","params":{"event":"n%012d.' + b"x" * 240 + b'","payload":1}}'
ITSELF = {"plugin": NAME, "method": "x"}
EMPTIES = b"[" + b"[]," * 32_000 + b"0]"
DEEP = frame(b"[" * 60_000)
KEYS = frame(b"{" + b'"k":1,' * 60_000 + b'"z":1}')
UNSHAKEN = frame(b'{"q":[' + b"[]," * 20_000 + b"0]}")


class Attacker:
    """A connection that is misused."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._count = 0
        self._asked = 0
        self.connect()

    def connect(self, capabilities: Iterable[str] = ("*",)) -> None:
        self._asked = 0
        self._host = socket.socket(socket.AF_UNIX)
        self._host.connect(self._path)
        hello = {
            "plugin_no": NAME,
            "capabilities": list(capabilities),
            "protocol_versions": [1],
        }
        self.send(frame(json.dumps(hello).encode()))
        self.read()

    def send(self, data: bytes) -> None:
        self._host.sendall(data)

    def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._read(*struct.unpack(">I", self._read(4))))
        return message

    def _read(self, size: int) -> bytes:
        # Not from a buffer: `select` would not know of what is in it.
        data = self._host.recv(size, socket.MSG_WAITALL)
        if len(data) < size:
            raise ConnectionError("closed")
        return data

    def answer(self, message: dict[str, Any], data: bytes = b"null") -> None:
        if "event" in message and "id" in message:
            self.send(frame(b'{"id":%d,"status":"ok","data":%b}' % (message["id"], data)))

    # Three honest plugins.

    def be_quiet(self) -> None:
        self.answer(self.read())

    def be_busy(self) -> None:
        """Answer, and keep some calls in flight: an honest plugin that uses much time."""
        for number in range(1, IN_FLIGHT + 1):
            self.send(call("log", {"message": "x"}, id=number))
        while True:
            message = self.read()
            self.answer(message)
            if "event" not in message:
                self.send(call("log", {"message": "x"}, id=message["id"]))

    def chat(self) -> None:
        """Publish the same event as fast as the host takes it."""
        if select.select([self._host], [], [], 0)[0]:
            self.answer(self.read())
        self.send(SAID)

    # The attacks.

    def publish(self) -> None:
        """Never use an event's name twice."""
        self._count += 10
        # Written with little work: what it costs the host is measured, not what it costs itself.
        numbers = range(self._count, self._count + 10)
        self.send(b"".join(frame(NAMED % number) for number in numbers))

    def answer_at_length(self) -> None:
        if select.select([self._host], [], [], TURN_S)[0]:
            self.answer(self.read(), b'"' + b"x" * 3_900_000 + b'"')

    def ask_itself(self) -> None:
        """Call itself, and answer with tens of thousands of lists."""
        if self._asked < IN_FLIGHT:
            self._asked += 1
            self.send(call("plugin.call", ITSELF, id=self._asked))
        if not select.select([self._host], [], [], TURN_S)[0]:
            return
        message = self.read()
        if "event" in message:
            self.answer(message, EMPTIES)
        else:
            self.send(call("plugin.call", ITSELF, id=message["id"]))

    def come_and_go(self) -> None:
        """Connect anew all the time, with all that a handshake may say."""
        self._host.close()
        self.connect("c" * 250 for _ in range(200))

    def storm(self) -> None:
        """Connect, send what must be parsed, and go."""
        for _ in range(STORM):
            with socket.socket(socket.AF_UNIX) as one:
                one.connect(self._path)
                one.sendall(UNSHAKEN)

    def print_a_flood(self) -> None:
        os.write(1, b"x" * 65_536 + b"\n")

    def panic(self) -> None:
        """Print what looks like a Rust panic, and is not."""
        os.write(1, b"thread '" + b"' " * 8000 + b"\n")


ATTACKS: dict[str, Callable[[Attacker], None]] = {
    "bombs": lambda one: one.send(BOMB),
    "calls": lambda one: one.send(FIELDS),
    "small-calls": lambda one: one.send(SMALL),
    "names": Attacker.publish,
    "unsubscribe": lambda one: one.send(FORGET),
    "nested-calls": lambda one: one.send(NESTED),
    "wide-calls": lambda one: one.send(WIDE),
    "asks-itself": Attacker.ask_itself,
    "comes-and-goes": Attacker.come_and_go,
    "deep": lambda one: one.send(DEEP),
    "keys": lambda one: one.send(KEYS),
    "big-answers": Attacker.answer_at_length,
    "output": Attacker.print_a_flood,
    "panics": Attacker.panic,
    "handshakes": Attacker.storm,
}
HONEST: dict[str, Callable[[Attacker], None]] = {
    "quiet": Attacker.be_quiet,
    "busy": Attacker.be_busy,
    "chatty": Attacker.chat,
}
TURNS = {**HONEST, **ATTACKS}
#: Attacks by the number of things that an honest plugin does too, rather than by their size.
BY_NUMBER = (
    *("small-calls", "names", "unsubscribe", "handshakes"),
    *("nested-calls", "wide-calls", "asks-itself", "comes-and-goes"),
)


def main() -> None:
    """Take turns for ever, whatever the host thinks of it."""
    attacker = None
    for turn in cycle([TURNS[NAME]] if NAME in TURNS else ATTACKS.values()):
        ends = time.monotonic() + TURN_S
        while time.monotonic() < ends:
            try:
                if attacker is None:
                    attacker = Attacker(sys.argv[sys.argv.index("--socket") + 1])
                turn(attacker)
            except OSError:
                attacker = None
                time.sleep(0.01)


if __name__ == "__main__":
    main()
