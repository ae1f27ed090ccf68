"""The echo plugin where there is no C compiler: ``echo.c`` in Python, and slower than a host."""

from __future__ import annotations

import argparse
import json
import socket
import struct

ANSWER = b'{"status":"ok","data":{"type":1}}'
READ_BYTES = 1 << 18


def frame(payload: bytes) -> bytes:
    return struct.pack(">I", len(payload)) + payload


def serve(connection: socket.socket) -> None:
    answer = frame(ANSWER)
    kept = bytearray()
    greeted = False  # the first frame acknowledges the handshake
    while received := connection.recv(READ_BYTES):
        kept += received
        position = frames = 0
        while len(kept) - position >= 4:
            end = position + 4 + int.from_bytes(kept[position : position + 4], "big")
            if end > len(kept):
                break
            position = end
            frames += 1
        del kept[:position]
        if frames and not greeted:
            greeted = True
            frames -= 1
        if frames:
            connection.sendall(answer * frames)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    parser.add_argument("--name", default="echo")
    parser.add_argument("--capabilities", type=json.loads, default=["*"])
    options = parser.parse_args()
    hello = {"name": options.name, "version": "1", "capabilities": options.capabilities}
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.connect(options.socket)
        connection.sendall(frame(json.dumps(hello).encode()))
        serve(connection)


if __name__ == "__main__":
    main()
