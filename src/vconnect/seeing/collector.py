"""The metrics in an application's own registry of ``prometheus_client``."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from vconnect.errors import ConfigError
from vconnect.plugins.registry import Registry
from vconnect.settings.model import Settings

from .exposition import Exposition
from .overview import Overview

if TYPE_CHECKING:
    from prometheus_client import Metric

# A thread that scrapes gives up then; the host's loop is not its to wait for without end. Seconds.
_PATIENCE_S = 10.0


class _Runtime(Protocol):
    """What of a manager is needed."""

    @property
    def registry(self) -> Registry: ...
    @property
    def overview(self) -> Overview: ...
    @property
    def settings(self) -> Settings: ...
    def loop_name(self) -> str: ...


class VConnectCollector:
    """Adds the metrics of a host to those of the application.

    Register it once: ``prometheus_client.REGISTRY.register(VConnectCollector(runtime))``. It has
    the families of ``/metrics`` of the administration interface, but for those of that interface
    itself. It needs the extra ``prometheus``. What ``/metrics`` writes is parsed here, which takes
    much longer; called from another thread, such as that of ``start_http_server``, only the writing
    is the event loop's.

    Args:
        runtime: The host. Its event loop must be running, and be the current one.

    Raises:
        ConfigError: ``prometheus_client`` is not installed.
        RuntimeError: There is no running event loop.
    """

    def __init__(self, runtime: _Runtime) -> None:
        try:
            from prometheus_client.parser import text_string_to_metric_families
        except ImportError:
            raise ConfigError(
                "VConnectCollector needs prometheus_client; install the extra prometheus"
            ) from None
        self._loop = asyncio.get_running_loop()
        self._parse = text_string_to_metric_families
        self._exposition = Exposition(
            runtime.registry,
            runtime.overview,
            runtime.loop_name,
            lambda: runtime.settings.metrics_buckets == "coarse",
        )

    def describe(self) -> list[Metric]:
        """Return nothing: a registry would otherwise collect when the collector is registered."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the families; none after the event loop has ended. Any thread may call it.

        Raises:
            TimeoutError: Something has held the event loop for ten seconds.
        """
        if not self._loop.is_running():
            return
        rendering = self._exposition.render()
        is_here = _is_here(self._loop)
        text = _at_once(rendering) if is_here else self._from_elsewhere(rendering)
        yield from self._parse(text.decode())

    def _from_elsewhere(self, rendering: Coroutine[Any, Any, bytes]) -> bytes:
        there = asyncio.run_coroutine_threadsafe(rendering, self._loop)
        try:
            return there.result(_PATIENCE_S)
        except TimeoutError:
            there.cancel()
            words = f"the host's event loop has given the metrics no turn for {_PATIENCE_S:g} s"
            raise TimeoutError(words) from None


def _is_here(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _at_once(rendering: Coroutine[Any, Any, bytes]) -> bytes:
    """Run a coroutine that only gives others their turn, without giving it."""
    try:
        while True:
            rendering.send(None)
    except StopIteration as done:
        return bytes(done.value)
