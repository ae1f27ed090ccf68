"""A plugin that is a ZeroMQ ROUTER: it answers every event with a constant."""

from __future__ import annotations

import argparse

import zmq

ANSWER = b'{"status":"ok","data":{"type":1}}'


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(f"ipc://{parser.parse_args().socket}")
    while True:
        sender, number, _event = socket.recv_multipart()
        socket.send_multipart((sender, number, ANSWER))


if __name__ == "__main__":
    main()
