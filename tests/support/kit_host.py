"""A small host by hand, and plugin processes that never outlive their test."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.support.lab import MEASURING

PLUGINS = Path(__file__).parent.parent / "plugins"
PATIENCE_S = 20.0


class Peer:
    """One plugin's connection, seen from the host."""

    def __init__(self, reader, writer):
        self._reader = reader
        self._writer = writer

    async def read(self):
        """Read one frame; ``None`` once the plugin has closed."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                header = await self._reader.readexactly(4)
                payload = await self._reader.readexactly(int.from_bytes(header, "big"))
            except (asyncio.IncompleteReadError, ConnectionResetError):
                return None
        return json.loads(payload)

    async def write(self, *messages):
        await self.write_bytes(b"".join(frame(message) for message in messages))

    async def write_bytes(self, data):
        self._writer.write(data)
        await self._writer.drain()

    async def ask(self, event, payload=None):
        await self.write({"event": event, "event_type": event, "payload": payload})
        return await self.read()

    async def close(self):
        self._writer.close()
        with suppress(BrokenPipeError, ConnectionResetError):  # the plugin was faster
            await self._writer.wait_closed()


class Host:
    """Listens on a socket and hands out connections; ``async with`` begins and ends it."""

    def __init__(self, path):
        self.path = Path(path)
        self._peers = []
        self._waiting: asyncio.Queue[Any] = asyncio.Queue()

    async def __aenter__(self):
        self._server = await asyncio.start_unix_server(self._connected, self.path)
        return self

    async def __aexit__(self, *_):
        self._server.close()
        for peer in self._peers:
            await peer.close()
        await self._server.wait_closed()
        self.path.unlink(missing_ok=True)

    async def _connected(self, reader, writer):
        peer = Peer(reader, writer)
        self._peers.append(peer)
        self._waiting.put_nowait(peer)

    async def accept(self):
        """Return the next connection, before its handshake."""
        async with asyncio.timeout(PATIENCE_S):
            return await self._waiting.get()

    async def welcome(self, config=None, **terms):
        """Return the next connection, shaken hands, and what it said of itself."""
        peer = await self.accept()
        handshake = await peer.read()
        await peer.write({"status": "ok", "config": config or {}, **terms})
        return peer, handshake


class Processes:
    """Starts programs and ends what is left of them."""

    def __init__(self, directory):
        self._directory = directory
        self._started = []

    def start(self, *command, cwd=None, **variables):
        number = len(self._started)
        out, err = (self._directory / f"{number}.{name}" for name in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=cwd,
                env=environment(variables),
                start_new_session=True,
            )
        program = Program(process, out, err)
        self._started.append(program)
        return program

    def plugin(self, name, *arguments, **keywords):
        return self.start(sys.executable, PLUGINS / f"{name}.py", *arguments, **keywords)

    def end_all(self):
        for program in self._started:
            program.kill()


class Program:
    """A started process, with all that it wrote."""

    def __init__(self, process, out, err):
        self.process = process
        self._out = out
        self._err = err

    @property
    def pid(self):
        return self.process.pid

    @property
    def stdout(self):
        return self._out.read_text()

    @property
    def stderr(self):
        return self._err.read_text()

    async def exit_code(self, timeout=PATIENCE_S):
        try:
            return await asyncio.to_thread(self.process.wait, timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running; it wrote:\n{self.stderr}") from None

    async def wrote(self, text, times=1):
        """Wait until standard output and error hold ``text``."""
        await until(lambda: (self.stdout + self.stderr).count(text) >= times, f"{text!r} written")

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        """End the whole session that it began, also what its leader left behind."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)


async def until(condition, what):
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {PATIENCE_S} s in vain: {what}") from None


def frame(message):
    payload = json.dumps(message).encode()
    return len(payload).to_bytes(4, "big") + payload


def environment(variables):
    """What a host gives: a short list, with its own interpreter first on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    names = ("HOME", "LANG", "PYTHONPATH", "CARGO_HOME", "RUSTUP_HOME", *MEASURING)
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {**kept, "PATH": path, **variables}
