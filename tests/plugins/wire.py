"""The plugin's end of the wire with nothing but the standard library, for plugins of tests.

A plugin of a test is a few lines that misbehave in one way; this is what they share.
"""

import json
import os
import signal
import socket
import struct
import sys

# As in any other language: an interrupt ends the process, and says nothing of Python's insides.
signal.signal(signal.SIGINT, signal.SIG_DFL)


def argument(name, default=None):
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else default


def frame(message):
    payload = json.dumps(message).encode()
    return struct.pack(">I", len(payload)) + payload


class Connection:
    """A connection to the host; `greet` shakes hands."""

    def __init__(self, path=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path or argument("--socket"))
        self.config = None

    def greet(self, **fields):
        """Shake hands under our own name, for every event, or as ``fields`` say."""
        name = os.environ.get("VCONNECT_PLUGIN_NAME", "")
        self.send({"plugin_no": name, "capabilities": ["*"], **fields})
        answer = self.receive()
        self.config = answer.get("config") if answer else None
        return answer

    def send(self, *messages):
        self.send_bytes(b"".join(frame(message) for message in messages))

    def send_bytes(self, data):
        self.socket.sendall(data)

    def receive(self):
        """Return the next frame's object, or ``None`` once the host has closed."""
        header = self._read(4)
        payload = self._read(struct.unpack(">I", header)[0]) if header else b""
        return json.loads(payload) if payload else None

    def events(self):
        """Yield events until the host closes."""
        while (event := self.receive()) is not None:
            yield event

    def close(self):
        self.socket.close()

    def _read(self, size):
        data = b""
        while len(data) < size:
            try:
                piece = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return b""
            if not piece:
                return b""
            data += piece
        return data


def serve(answer=None, **handshake):
    """Shake hands and answer every event by ``answer(event)``, until the host closes."""
    connection = Connection()
    connection.greet(**handshake)
    for event in connection.events():
        data = {"echo": event["payload"]}
        connection.send({"status": "ok", "data": data} if answer is None else answer(event))


def serve_native(answer=None, **handshake):
    """As `serve`, in the native dialect; the host's own events are answered too."""
    connection = Connection()
    connection.greet(protocol_versions=[1], **handshake)
    for event in connection.events():
        if "id" in event:
            data = {"echo": event["payload"]} if answer is None else answer(event)
            connection.send({"id": event["id"], "status": "ok", "data": data})
