"""`PluginClient`: connects to the host, completes the handshake, serves, and reconnects."""

# The idea: a plugin outlives its connections, but not its host. A lost connection is retried,
# quickly at first, because a host that restarts is back within seconds; `on_start` runs once, and a
# changed configuration is passed on as an update. Once the host's process is gone, the plugin ends
# on its own, so that no orphan attaches to the next host.
#
# The first handshake says that the plugin is not ready; the host sends events and replaces the old
# version only after `plugin.ready`, which follows `on_start`. A later handshake does not say so.

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any

from vconnect._framing import DEFAULT_MAX_FRAME_BYTES, encode_frame
from vconnect.errors import RemoteProtocolError
from vconnect.wire._stream import FrameStream, ReadBuffer
from vconnect.wire.messages import NATIVE_VERSIONS, READY

from .classic_pipeline import Pipeline
from .handlers import settle
from .native_pipeline import NativePipeline
from .plugin import Plugin, build_handshake, check_plugin, convert_config

# A host that restarts is back within seconds, so the first tries are quick. After them it may be
# gone for long, and the tries become rare.
_TRIES = 10
_RETRY_DELAY_S = 0.5
_MAX_RETRY_DELAY_S = 5.0
_HANDSHAKE_TIMEOUT_S = 10.0
_DRAIN_TIMEOUT_S = 3.0  # well within the 5 s after which a host kills by default
# How often an idle plugin checks that its host is alive. Nothing announces the end of another
# process portably.
_HOST_CHECK_S = 1.0


def retry_delays() -> Iterator[float]:
    """Yield the seconds to wait after each failed try: 10 times 0.5, then doubling up to 5.

    The later delays vary by a quarter, so that many plugins do not reconnect in step.
    """
    yield from repeat(_RETRY_DELAY_S, _TRIES)
    delay = _RETRY_DELAY_S
    while True:
        delay = min(2 * delay, _MAX_RETRY_DELAY_S)
        yield delay * random.uniform(0.75, 1.0)  # noqa: S311 - nothing secret


class HostWatch:
    """Detects that the host that started this process is gone.

    Args:
        pid: The host's PID (``VCONNECT_HOST_PID``), or ``None`` if no host started this process.
    """

    def __init__(self, pid: int | None) -> None:
        self._pid = pid
        self._parent = os.getppid()

    def is_gone(self) -> bool:
        """Return whether the host is gone: it has no process, or ours has a new parent."""
        if self._pid is None:
            return False
        return os.getppid() != self._parent or not _is_alive(self._pid)


class PluginClient:
    """A plugin's connection to its host, for the plugin's whole life.

    Args:
        plugin: The plugin to serve.
        socket_path: The path of the host's socket; ``~`` is expanded.
        host_pid: The host's PID: `run` ends once that process is gone. ``None``: reconnect forever.

    Raises:
        TypeError: A class attribute of the plugin is invalid.
    """

    def __init__(
        self, plugin: Plugin, socket_path: str | Path, *, host_pid: int | None = None
    ) -> None:
        check_plugin(plugin)
        self._plugin = plugin
        # Built once, so that a mistake in it fails at the start and not at a reconnect.
        self._handshake = encode_frame(build_handshake(plugin))
        self._first_handshake = encode_frame(build_handshake(plugin, is_ready=False))
        self._log = plugin.log
        self._socket_path = str(Path(socket_path).expanduser())
        self._host = HostWatch(host_pid)
        self._buffer = ReadBuffer()
        self._stopping = asyncio.Event()
        self._starting: asyncio.Task[None] | None = None  # while `on_start` runs
        self._connection: _Connection | None = None
        self._config: dict[str, Any] | None = None  # as sent by the host; None before on_start
        self._problem = ""

    async def run(self) -> None:
        """Serve until `stop` is called or the host is gone.

        Raises:
            ConfigError: The configuration does not match the plugin's ``config_type``.
            Exception: Whatever ``on_start`` or ``on_stop`` raised.
        """
        try:
            await self._keep_connected()
        finally:
            if self._config is not None:
                await settle(self._plugin.on_stop())

    def stop(self) -> None:
        """End `run` soon: events read so far are still answered, for at most 3 s.

        An ``on_start`` that waits is cancelled.
        """
        self._stopping.set()
        if self._starting is not None:
            self._starting.cancel()
        if self._connection is not None:
            self._connection.drain(_DRAIN_TIMEOUT_S)

    async def _keep_connected(self) -> None:
        delays = retry_delays()
        while not self._is_over():
            # After a handshake the host is there again, so quick tries are worthwhile.
            if await self._connect_and_serve():
                delays = retry_delays()
            await self._pause(next(delays))

    def _is_over(self) -> bool:
        if self._stopping.is_set():
            return True
        if self._host.is_gone():
            self._log.info("the host is gone; exiting")
            return True
        return False

    async def _pause(self, delay: float) -> None:
        """Wait for ``delay`` seconds, or until there is no reason to wait."""
        loop = asyncio.get_running_loop()
        until = loop.time() + delay
        while (left := until - loop.time()) > 0 and not self._stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), min(left, _HOST_CHECK_S))
            if self._host.is_gone():
                return

    async def _connect_and_serve(self) -> bool:
        """Serve one connection until it ends.

        Returns:
            Whether its handshake was accepted.
        """
        is_first = self._config is None
        handshake = self._first_handshake if is_first else self._handshake
        connection = _Connection(self._plugin, handshake, self.stop, tells_ready=is_first)
        loop = asyncio.get_running_loop()
        try:
            _, stream = await loop.create_unix_connection(
                lambda: FrameStream(connection, self._buffer), self._socket_path
            )
        except OSError as error:
            reason = error.strerror or str(error)
            self._warn(f"cannot connect to {self._socket_path}: {reason}; trying again")
            return False
        self._connection = connection
        # `stop` may have been called while the connection was being made.
        if self._stopping.is_set():
            connection.drain(0)
        try:
            return await self._serve(connection)
        finally:
            self._connection = None
            stream.abort()
            await connection.lost

    async def _serve(self, connection: _Connection) -> bool:
        config = await self._shake_hands(connection)
        if config is None or self._stopping.is_set():
            return False
        self._problem = ""
        if not await self._configure(config):
            return True
        self._log.info("connected to %s", self._socket_path)
        connection.open()
        error = await connection.lost
        # A native host may have changed the configuration meanwhile; see `_configure`.
        if connection.config is not None:
            self._config = connection.config
        if not self._stopping.is_set():
            self._log.warning("connection lost: %s", error or "the host closed it")
        return True

    async def _shake_hands(self, connection: _Connection) -> dict[str, Any] | None:
        """Wait for the host's answer to the handshake.

        Returns:
            The configuration, or ``None`` if the host refused, closed the connection or timed out.
        """
        welcome = await connection.welcomed(_HANDSHAKE_TIMEOUT_S)
        if welcome is None:
            if not self._stopping.is_set():
                self._warn(f"no answer to the handshake ({connection.end}); trying again")
            return None
        if welcome.get("status") != "ok":
            self._warn(f"refused by the host: {_host_words(welcome)}; trying again")
            return None
        config = welcome.get("config")
        return config if isinstance(config, dict) else {}

    async def _configure(self, values: dict[str, Any]) -> bool:
        """Start the plugin with its first configuration; pass on a later one if it differs.

        Returns:
            Whether it has started; false if it was stopped meanwhile.
        """
        config = convert_config(self._plugin, values)
        if self._config is None:
            self._plugin.config = config
            if not await self._start():
                return False
            self._config = values
        elif values != self._config:
            try:
                await settle(self._plugin.on_config_update(config))
            except Exception:  # noqa: BLE001 - the author's code; keep the old configuration
                self._log.exception("on_config_update failed; keeping the old configuration")
            else:
                self._plugin.config = config
                self._config = values
        return True

    async def _start(self) -> bool:
        """Run ``on_start`` so that `stop` can cancel it; return whether it has completed."""

        async def start() -> None:
            await settle(self._plugin.on_start())

        self._starting = task = asyncio.create_task(start())
        try:
            await asyncio.wait([task])
        finally:
            # Otherwise the caller is cancelled, and the plugin must not go on starting alone.
            self._starting = None
            task.cancel()
        if not task.cancelled():
            task.result()
            return True
        if self._stopping.is_set():
            self._log.info("on_start was cancelled, because the plugin is being stopped")
            return False
        raise RuntimeError("on_start was cancelled by something that it waited for")

    def _warn(self, problem: str) -> None:
        """Log a problem once, rather than with each try that has the same problem."""
        if problem != self._problem:
            self._log.warning("%s", problem)
        else:
            self._log.debug("%s", problem)
        self._problem = problem


class _Connection:
    """One connection, as the owner of its stream: a handshake, then events."""

    def __init__(
        self,
        plugin: Plugin,
        handshake: bytes,
        stop: Callable[[], None],
        *,
        tells_ready: bool = False,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._plugin = plugin
        self._stop = stop
        self._handshake = handshake
        self._tells_ready = tells_ready
        self._welcome: asyncio.Future[dict[str, Any]] = loop.create_future()
        self.lost: asyncio.Future[Exception | None] = loop.create_future()
        self._stream: FrameStream
        self._pipeline: Pipeline | NativePipeline
        self._is_open = False

    def connected(self, stream: FrameStream) -> None:
        self._stream = stream
        # Replaced if the acknowledgment is native.
        self._pipeline = Pipeline(self._plugin, stream)
        stream.send(self._handshake)

    def message(self, message: dict[str, Any]) -> None:
        if self._welcome.done():
            self._pipeline.accept(message)
            return
        self._welcome.set_result(message)
        if message.get("protocol_version") in NATIVE_VERSIONS:
            limit = _frame_limit(message)
            native = NativePipeline(self._plugin, self._stream, self._stop, limit)
            self._pipeline = native
            self._plugin.host.connected(self._stream, native.keep_reading, limit)

    def broken(self, error: RemoteProtocolError) -> None:
        """Do nothing: `disconnected` follows with the same error."""

    def disconnected(self, error: Exception | None) -> None:
        self._pipeline.close()
        self._plugin.host.disconnected()
        self.lost.set_result(error)

    @property
    def config(self) -> dict[str, Any] | None:
        """The configuration received after the handshake, or ``None``."""
        return self._pipeline.config if isinstance(self._pipeline, NativePipeline) else None

    @property
    def end(self) -> str:
        """Why there is no answer to the handshake."""
        if not self.lost.done():
            return "the host did not respond"
        return str(self.lost.result() or "the host closed the connection")

    async def welcomed(self, timeout: float) -> dict[str, Any] | None:
        """Wait for the host's first frame; return ``None`` if it does not arrive."""
        ends: list[asyncio.Future[Any]] = [self._welcome, self.lost]
        await asyncio.wait(ends, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return self._welcome.result() if self._welcome.done() else None

    def open(self) -> None:
        """Start answering events."""
        if not self.lost.done():
            self._is_open = True
            if self._tells_ready and isinstance(self._pipeline, NativePipeline):
                self._plugin.host.tell(READY)
            self._pipeline.open()

    def drain(self, timeout: float) -> None:
        """Answer what has been read, then close; abort after ``timeout`` seconds."""
        # Before on_start has finished, no event can be answered, but the host's stop has been.
        if not self._is_open:
            self._stream.close()
            return
        asyncio.get_running_loop().call_later(timeout, self._stream.abort)
        self._pipeline.when_idle(self._stream.close)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # it exists and belongs to another user
    return True


def _frame_limit(welcome: dict[str, Any]) -> int:
    # A host of an earlier version has one limit for both directions.
    limit = welcome.get("max_answer_bytes", welcome.get("max_frame_bytes"))
    return limit if type(limit) is int and limit > 0 else DEFAULT_MAX_FRAME_BYTES


def _host_words(answer: dict[str, Any]) -> str:
    """Quote a refusal: the host's message and code, or else its whole answer."""
    message, code = answer.get("message"), answer.get("code")
    if message and code:
        return f"{message} ({code})"
    return str(message or code or answer)
