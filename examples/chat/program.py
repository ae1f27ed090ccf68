"""Serve a chat whose rules, bots and statistics are plugins, until Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

from vconnect import VConnectError

from .building import BuildError, prepare
from .server import Places, serve

HERE = Path(__file__).parent
DEFAULT_PORT = 8800


def main() -> int:
    """Read the arguments, and serve."""
    options = read_arguments()
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.ERROR,
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%H:%M:%S",
    )
    os.environ.setdefault("PATH", os.defpath)  # an empty environment has none
    try:
        prepared = prepare(options.plugins.resolve())
        asyncio.run(serve(Places(options.port, options.dir), prepared))
    except (BuildError, VConnectError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:  # by a signal, and everything has ended in order
        return 0
    return 0


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description=__doc__)
    parser.add_argument(
        "--port",
        type=int,
        default=DEFAULT_PORT,
        help="port on 127.0.0.1 (%(default)s); if it is taken, a free one is used",
    )
    parser.add_argument(
        "--dir",
        type=Path,
        help="directory for the sockets and the state; by default a temporary one, removed at exit",
    )
    parser.add_argument(
        "--plugins",
        type=Path,
        default=HERE / "plugins",
        help="directory with the sources of the plugins (%(default)s)",
    )
    parser.add_argument("--verbose", action="store_true", help="log what the plugins do")
    return parser.parse_args()
