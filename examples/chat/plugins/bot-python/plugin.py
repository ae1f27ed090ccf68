#!/usr/bin/env python3
"""The bot of the chat for machines without Node: the same commands, with the Python SDK."""

from __future__ import annotations

import random
import re
from typing import Any

from vconnect import Context, HostCallError, Plugin, on, run_plugin

HELP = "I know /roll [dice]d[sides], /stats and /help."
DICE = re.compile(r"/roll(?: +(\d{1,2})d(\d{1,4}))?")


class Bot(Plugin):
    plugin_no = "wk.plugin.bot"
    version = "1.0.0"
    priority = 10

    @on("message.incoming")
    async def hear(self, ctx: Context) -> None:
        """Post an answer. The chat does not wait for it: this bot is an observer."""
        answer = await self.answer(ctx.get("content", ""), ctx.get("from", "somebody"))
        if answer:
            await ctx.host.call("chat.post", {"room": ctx.get("room"), "text": answer})

    async def answer(self, command: str, sender: str) -> str:
        if command == "/help":
            return HELP
        if command == "/stats":
            return await self.stats()
        if dice := DICE.fullmatch(command):
            return roll(sender, int(dice[1] or 1), int(dice[2] or 6))
        return ""

    async def stats(self) -> str:
        try:
            return in_words(await self.host.call_plugin("stats", "stats.get", timeout=2))
        except HostCallError as error:
            return f"I cannot get the statistics: {error}."


def roll(sender: str, dice: int, sides: int) -> str:
    if not 0 < dice <= 20 or sides < 2:
        return "I have up to 20 dice, with 2 sides or more."
    thrown = [random.randint(1, sides) for _ in range(dice)]
    total = f" = {sum(thrown)}" if dice > 1 else ""
    return f"{sender} rolls {dice}d{sides}: {' + '.join(map(str, thrown))}{total}"


def in_words(stats: dict[str, Any]) -> str:
    words = f"Since I began to count: {stats['messages']} messages, {stats['joined']} joined"
    words += f", {stats['left']} left"
    if stats.get("busiest"):
        words += f"; {stats['busiest']} said most ({stats['most']})"
    return words + "."


if __name__ == "__main__":
    run_plugin(Bot)
