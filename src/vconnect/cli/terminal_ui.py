"""The terminal interface: a list with shapes, the log of the chosen plugin, and why."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import DataTable, Footer, Input, RichLog, Static

from vconnect.errors import AdminError, HostUnreachableError

from .following import LogReader, Row, Wanted
from .output import SHAPE_STYLES, clean
from .showing_plugins import headline, p99, rate, shape_of

if TYPE_CHECKING:
    from vconnect.admin.client.client import AdminClient
    from vconnect.seeing.summary import PluginSummary

_INTERVAL_S = 0.5
_KEPT_LINES = 2000
_LEVEL_STYLES = {"warn": "yellow", "error": "red", "debug": "dim", "trace": "dim"}
_HELP = (
    "r restart · s stop or start · u upgrade · x release · f follow or pause · / filter · "
    "y copy the last line · o log in $PAGER · ? keys · q quit"
)


class Ui(App[None]):
    """The application.

    Args:
        client: Asks the host.
    """

    TITLE = "vconnect"
    CSS = """
    #plugins { width: 46; }
    #why { height: auto; max-height: 4; padding: 0 1; }
    #head { height: 1; padding: 0 1; text-style: bold; }
    #filter { display: none; }
    #filter.shown { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("r", "order('restart')", "restart"),
        Binding("s", "stop_or_start", "stop/start"),
        Binding("u", "upgrade", "upgrade"),
        Binding("x", "order('release')", "release"),
        Binding("f", "follow", "follow"),
        Binding("slash", "filter", "filter"),
        Binding("y", "copy", "copy line"),
        Binding("o", "pager", "pager"),
        Binding("question_mark", "keys", "keys"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, client: AdminClient) -> None:
        super().__init__()
        self._client = client
        self._plugins: dict[str, PluginSummary] = {}
        self._chosen = ""
        self._reader: LogReader | None = None
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._grep = ""
        self._is_following = True
        self._said = ""

    def compose(self) -> ComposeResult:
        """Build the screen."""
        yield Static(id="head")
        with Horizontal():
            yield DataTable(id="plugins", cursor_type="row")
            with Vertical():
                # Text of plugins is never markup.
                yield RichLog(id="log", markup=False, highlight=False, max_lines=_KEPT_LINES)
        yield Static(id="why")
        yield Input(placeholder="only lines with this text", id="filter")
        yield Footer()

    async def on_mount(self) -> None:
        """Begin to look."""
        self.table_view.add_columns("", "NAME", "STATE", "EV/S", "P99")
        await self._look_again()
        self.set_interval(_INTERVAL_S, self._look_again)
        self.table_view.focus()

    @property
    def table_view(self) -> DataTable[Text]:
        """Where plugins are listed."""
        return self.query_one("#plugins", DataTable)

    @property
    def log_view(self) -> RichLog:
        """Where records are shown."""
        return self.query_one("#log", RichLog)

    @property
    def _is_there(self) -> bool:
        """Whether the screen is still there: the user may quit while the host is asked."""
        return bool(self.query("#plugins"))

    # What is seen.

    async def _look_again(self) -> None:
        try:
            plugins = (await self._client.plugins()).plugins
            if self._is_there:
                self._show_plugins(plugins)
                await self._show_records()
        except (AdminError, HostUnreachableError) as error:
            if self._is_there:
                self._show("head", f"not up to date: {error}")

    def _show_plugins(self, plugins: list[PluginSummary]) -> None:
        self._plugins = {plugin.name: plugin for plugin in plugins}
        if self._chosen not in self._plugins:
            self._choose(plugins[0].name if plugins else "")
        table = self.table_view
        table.clear()
        for plugin in plugins:
            style = SHAPE_STYLES.get(plugin.shape, "")
            cells = [
                Text(shape_of(plugin), style),
                Text(clean(plugin.name)),
                Text(clean(plugin.state), style),
                Text(rate(plugin.events_per_s)),
                Text(p99(plugin)),
            ]
            table.add_row(*cells, key=plugin.name)
        if self._chosen:
            table.move_cursor(row=list(self._plugins).index(self._chosen))
        self._show("head", headline(plugins) if plugins else "no plugins")
        self._show_why()

    def _show_why(self) -> None:
        plugin = self._plugins.get(self._chosen)
        if plugin is None:
            words = ""
        else:
            step = f" Next: {plugin.next}" if plugin.next else ""
            words = f"{plugin.name}: {plugin.why or plugin.state}.{step}"
        self._show("why", "\n".join(filter(None, (words, self._said))))

    def _show(self, place: str, words: str) -> None:
        lines = [clean(line) for line in words.split("\n")]
        self.query_one(f"#{place}", Static).update(Text("\n".join(lines)))

    def _choose(self, name: str) -> None:
        self._chosen = name
        self._reader = None
        self._lines.clear()
        self.log_view.clear()

    async def _show_records(self) -> None:
        name = self._chosen
        if not name or not self._is_following:
            return
        reader = self._reader
        if reader is None:
            self._reader = reader = LogReader(self._client, lambda _: [name], Wanted(lines=500))
            rows = await reader.history()
        else:
            rows = await reader.news()
        # Another plugin may have been chosen meanwhile.
        if reader is self._reader and self._is_there:
            for row in rows:
                self._add(row)

    def _add(self, row: Row) -> None:
        if "dropped" in row:
            line, level = f"-- {row['dropped']} lines lost --", "warn"
        elif "reset" in row:
            line, level = "-- the log begins again --", "warn"
        else:
            line, level = clean(f"{row['level'].upper():<5} {row['text']}"), row["level"]
        self._lines.append(line)
        if self._grep in line:
            self.log_view.write(Text(line, _LEVEL_STYLES.get(level, "")))

    # What is done.

    def on_data_table_row_highlighted(self, _: DataTable.RowHighlighted) -> None:
        """Choose another plugin."""
        # Where the cursor is now: the list may have been filled anew since the event.
        names = list(self._plugins)
        row = self.table_view.cursor_row
        if row < len(names) and names[row] != self._chosen:
            self._choose(names[row])
            self._show_why()

    async def action_order(self, order: str) -> None:
        """Give an order about the chosen plugin."""
        name = self._chosen
        if name:
            self._carry_out(f"{order} {name}", lambda: self._client.order(name, order))

    async def action_stop_or_start(self) -> None:
        """Stop the chosen plugin, or start it."""
        plugin = self._plugins.get(self._chosen)
        if plugin is not None:
            await self.action_order("stop" if plugin.desired == "running" else "start")

    async def action_upgrade(self) -> None:
        """Upgrade the chosen plugin."""
        name = self._chosen
        if name:
            self._carry_out(f"upgrade {name}", lambda: self._client.upgrade([name]))

    def _carry_out(self, what: str, order: Callable[[], Awaitable[object]]) -> None:
        async def work() -> None:
            self._say(f"{what} …")
            try:
                await order()
            except (AdminError, HostUnreachableError) as error:
                self._say(f"{what}: {error}")
            else:
                self._say(f"{what}: done")

        # An order may take long, and the screen must not wait for it.
        self.run_worker(work(), exclusive=False)

    def _say(self, words: str) -> None:
        self._said = words
        if self._is_there:
            self._show_why()

    def action_follow(self) -> None:
        """Follow the log, or pause."""
        self._is_following = not self._is_following
        self.log_view.auto_scroll = self._is_following
        self._say("" if self._is_following else "paused; f goes on")

    def action_filter(self) -> None:
        """Ask for a text."""
        field = self.query_one("#filter", Input)
        field.add_class("shown")
        field.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Show only lines with the text."""
        self._grep = event.value
        event.input.remove_class("shown")
        self.log_view.clear()
        for line in self._lines:
            if self._grep in line:
                self.log_view.write(Text(line))
        self._say(f"only lines with {self._grep!r}" if self._grep else "")
        self.table_view.focus()

    def action_copy(self) -> None:
        """Copy the last line that is shown, by OSC 52."""
        shown = [line for line in self._lines if self._grep in line]
        if shown:
            self.copy_to_clipboard(shown[-1])
            self._say("copied the last line")

    def action_pager(self) -> None:
        """Show the log in the pager."""
        pager = shlex.split(os.environ.get("PAGER", "less"))
        text = "\n".join(self._lines).encode("utf-8", "replace")
        with self.suspend():
            subprocess.run(pager, input=text, check=False)

    def action_keys(self) -> None:
        """Show what the keys do."""
        self._say("" if self._said == _HELP else _HELP)
