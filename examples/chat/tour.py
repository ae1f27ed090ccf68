"""What the terminal shows: the addresses, and what to try."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from urllib.parse import urlsplit

from vconnect import PluginRuntimeManager

from .administration import Administration
from .building import Prepared
from .embedding import FILTER, plugin_states


def show(
    address: str,
    wanted_port: int,
    administered: Administration,
    runtime: PluginRuntimeManager,
    prepared: Prepared,
) -> None:
    """Print everything that somebody needs who has just typed ``make run``."""
    lines = ["", "A chat, with plugins in separate processes:", ""]
    lines += _plugins(runtime, prepared)
    lines += ["", *_addresses(address, wanted_port, administered), "", "Five things to try:", ""]
    lines += _things_to_try(administered, runtime, prepared)
    lines += ["", "Ctrl-C ends it and leaves nothing behind."]
    print("\n".join(lines), flush=True)


def _plugins(runtime: PluginRuntimeManager, prepared: Prepared) -> list[str]:
    languages = {source.name: source.language for source in prepared.sources}
    lines = []
    for plugin in plugin_states(runtime):
        summary = runtime.summary(plugin.name)
        state = plugin.state if plugin.state == "running" else f"{plugin.state}: {plugin.why}"
        lines.append(
            f"  {plugin.name:<12} {languages[plugin.name]:<7} {state}; {summary.description}"
        )
    return lines + [f"  ({words})" for words in prepared.left_out]


def _addresses(address: str, wanted_port: int, administered: Administration) -> list[str]:
    lines = [f"  Chat       {address}"]
    if wanted_port not in (0, urlsplit(address).port):
        lines[0] += f"   (port {wanted_port} is taken)"
    if administered.login_url:
        lines.append(f"  Dashboard  {administered.login_url}   (logs in once)")
    else:
        lines.append(f"  Plugins    {_command(administered, 'list')}")
    return lines


def _things_to_try(
    administered: Administration, runtime: PluginRuntimeManager, prepared: Prepared
) -> list[str]:
    words = prepared.sources[0].path / "words.txt"
    return [
        '  1. Open the chat in two windows, and say "what the heck" in one of them.',
        "  2. Say /help, then /roll 2d6 or /stats: plugins answer.",
        f"  3. Kill the filter, and say something at once:  kill -9 {runtime.summary(FILTER).pid}",
        f"  4. Add a word to {_short(words)}, save it, and say the word.",
        f"  5. Stop the bot, and start it again:  {_command(administered, 'stop', 'bot')}",
    ]


def _command(administered: Administration, *words: str) -> str:
    program = _short(Path(sys.executable).with_name("vconnect"))
    return shlex.join([program, "--admin", str(administered.socket), *words])


def _short(path: Path) -> str:
    """Name a file as one would type it here."""
    name = os.path.relpath(path)
    return str(path) if name.startswith("..") else name
