"""A plugin that is a ``grpc.aio`` server: it answers every event with a constant."""

from __future__ import annotations

import argparse

import grpc
import grpc.aio
import uvloop

ANSWER = b'{"status":"ok","data":{"type":1}}'


async def handle(_request: bytes, _context: object) -> bytes:
    return ANSWER


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", required=True)
    socket = parser.parse_args().socket
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(handle)  # no serializers: bytes in, bytes out
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("vconnect.Plugin", {"Handle": handler}),)
    )
    server.add_insecure_port(f"unix:{socket}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
