"""The frames of ``vconnect top``, and its keys."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from vconnect.errors import AdminError, HostUnreachableError

from .output import SHAPE_STYLES, clean, is_colored, print_json_lines
from .showing_plugins import is_down, latency, memory, p99, percent, rate, shape_of

if TYPE_CHECKING:
    from rich.text import Text

    from vconnect.admin.answers import PluginList
    from vconnect.admin.client.client import AdminClient
    from vconnect.seeing.summary import PluginSummary

_SORTS = ("trouble", "p99", "events", "memory", "name")
_KEYS = "q quit  p pause  s sort  ↑↓ choose  Enter why"
_NARROW = 80
_BARS = "▁▂▃▄▅▆▇█"
_HISTORY = 8


class Frame:
    """One look at the host.

    Attributes:
        listed: The plugins.
        host: The host.
    """

    def __init__(self, listed: PluginList, host: dict[str, Any]) -> None:
        self.listed = listed
        self.host = host

    def head(self) -> str:
        """Return the first line."""
        plugins = self.listed.plugins
        events = sum(one.events_per_s or 0.0 for one in plugins)
        down = sum(map(is_down, plugins))
        refused = sum(one.passed_over.get("refused", 0) for one in plugins)
        lag = self.host.get("loop_lag") or {}
        parts = [
            self.listed.host,
            f"{rate(events).removesuffix('/s')} ev/s",
            f"lag p99 {latency(lag.get('p99_s'))}",
            f"{down} of {len(plugins)} do not serve" if down else "nothing is wrong",
            f"{refused} refused/min" if refused else "",
        ]
        return clean("   ".join(filter(None, parts)))

    def row(self, plugin: PluginSummary, history: str, width: int) -> str:
        """Return a plugin's line, which fits the width."""
        queue = f"{plugin.queue.events}/{plugin.queue.limit}"
        numbers = (
            f"{history:<{_HISTORY}} {rate(plugin.events_per_s):>8} {_p50(plugin):>7} "
            f"{p99(plugin):>7} {queue:>9} {percent(plugin.cpu_percent):>5} "
            f"{memory(plugin.rss_bytes):>7}"
        )
        shape = shape_of(plugin)
        room = max(8, width - len(numbers) - len(shape) - 2)
        name = clean(plugin.name)
        name = name if len(name) <= room else name[: room - 1] + "…"
        return f"{shape} {name:<{room}} {numbers}"[:width]


def _p50(plugin: PluginSummary) -> str:
    return latency(plugin.latency.p50_s if plugin.latency else None)


async def look(client: AdminClient, sort: str = "trouble") -> Frame:
    """Ask the host for a frame."""
    listed, host = await asyncio.gather(client.plugins(sort=sort), client.host())
    return Frame(listed, host)


async def print_frames(client: AdminClient, count: int, delay: float, *, as_json: bool) -> None:
    """Print some frames, one below the other."""
    import msgspec

    for number in range(count):
        if number:
            await asyncio.sleep(delay)
        frame = await look(client)
        if as_json:
            print_json_lines([{**msgspec.to_builtins(frame.listed), "status": frame.host}])
        else:
            click.echo(f"{frame.head()}   {time.strftime('%H:%M:%S')}")
            for plugin in frame.listed.plugins:
                click.echo(frame.row(plugin, "", _NARROW).rstrip())
        sys.stdout.flush()


def is_interactive() -> bool:
    """Return whether there is a terminal to draw on and to read keys from."""
    return sys.stdout.isatty() and sys.stdin.isatty()


class Screen:
    """Draws frames over each other, and obeys keys.

    Args:
        client: The client.
        delay: Seconds between frames.
    """

    def __init__(self, client: AdminClient, delay: float) -> None:
        self._client = client
        self._delay = delay
        self._sort = _SORTS[0]
        self._is_paused = False
        self._chosen = 0
        self._why = ""
        self._frame: Frame | None = None
        self._problem = ""
        self._rates: dict[str, list[float]] = {}
        self._keys: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        """Draw until ``q``."""
        from rich.console import Console
        from rich.live import Live

        console = Console(no_color=not is_colored(), highlight=False)
        await self._look()  # a host that is not there is an error, and no empty screen
        with (
            _raw_keys(self._keys),
            Live(self.draw(), console=console, screen=True, auto_refresh=False) as live,
        ):
            while await self._step():
                live.update(self.draw(), refresh=True)

    async def _step(self) -> bool:
        """Wait for a key or the time of the next frame; return whether to go on."""
        try:
            async with asyncio.timeout(self._delay):
                key = await self._keys.get()
        except TimeoutError:
            if not self._is_paused:
                await self._look_again()
            return True
        return await self.press(key)

    async def press(self, key: str) -> bool:
        """Obey a key; return whether to go on."""
        match key:
            case "q" | "\x03" | "\x04":
                return False
            case "p":
                self._is_paused = not self._is_paused
            case "s":
                self._sort = _SORTS[(_SORTS.index(self._sort) + 1) % len(_SORTS)]
                await self._look_again()
            case "\x1b[A" | "k":
                self._choose(-1)
            case "\x1b[B" | "j":
                self._choose(1)
            case "\r" | "\n":
                self._explain()
        return True

    def _choose(self, step: int) -> None:
        count = len(self._frame.listed.plugins) if self._frame else 0
        self._chosen = max(0, min(count - 1, self._chosen + step))
        self._why = ""

    def _explain(self) -> None:
        plugins = self._frame.listed.plugins if self._frame else []
        if self._why or not plugins:
            self._why = ""
            return
        plugin = plugins[min(self._chosen, len(plugins) - 1)]
        step = f". Next: {plugin.next}" if plugin.next else ""
        self._why = clean(f"{plugin.name}: {plugin.why or plugin.state}{step}")

    async def _look_again(self) -> None:
        try:
            await self._look()
            self._problem = ""
        except (HostUnreachableError, AdminError) as error:
            self._problem = clean(str(error))

    async def _look(self) -> None:
        self._frame = await look(self._client, self._sort)
        for plugin in self._frame.listed.plugins:
            rates = self._rates.setdefault(plugin.name, [])
            rates.append(plugin.events_per_s or 0.0)
            del rates[:-_HISTORY]

    def draw(self) -> Text:
        """Return the screen."""
        from rich.text import Text

        width, height = shutil.get_terminal_size()
        screen = Text(no_wrap=True, overflow="crop")
        if self._frame is None:
            return screen
        paused = "  PAUSED" if self._is_paused else ""
        screen.append(f"{self._frame.head()}{paused}"[:width] + "\n", style="bold")
        for at, plugin in enumerate(self._frame.listed.plugins[: max(1, height - 5)]):
            row = self._frame.row(plugin, _bars(self._rates.get(plugin.name, [])), width)
            style = SHAPE_STYLES.get(plugin.shape, "") if plugin.shape != "running" else ""
            screen.append(row + "\n", style=f"{style} reverse" if at == self._chosen else style)
        screen.append(f"\n{(self._why or self._problem)[: 2 * width]}\n")
        screen.append(f"{_KEYS}   sorted by {self._sort}"[:width], style="dim")
        return screen


def _bars(values: list[float]) -> str:
    most = max(values, default=0.0)
    if not most:
        return _BARS[0] * len(values)
    return "".join(_BARS[round(value / most * (len(_BARS) - 1))] for value in values)


@contextmanager
def _raw_keys(keys: asyncio.Queue[str]) -> Iterator[None]:
    """Put each key that is pressed into a queue, without echo, and leave the terminal as it was."""
    import termios
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    loop = asyncio.get_running_loop()

    def read() -> None:
        # An arrow arrives as one piece.
        keys.put_nowait(os.read(fd, 16).decode("utf-8", "replace"))

    try:
        tty.setcbreak(fd)
        loop.add_reader(fd, read)
        yield
    finally:
        loop.remove_reader(fd)
        termios.tcsetattr(fd, termios.TCSADRAIN, before)
