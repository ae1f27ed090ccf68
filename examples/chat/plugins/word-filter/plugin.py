#!/usr/bin/env python3
"""Mask the words of ``words.txt`` in messages, and refuse messages with those behind a ``!``."""

from __future__ import annotations

import re
from pathlib import Path

from vconnect import Context, Plugin, on, run_plugin

WORDS = Path(__file__).parent / "words.txt"


class WordFilter(Plugin):
    plugin_no = "wk.plugin.word-filter"
    version = "1.0.0"
    priority = 100  # before everything that reads messages

    def on_start(self) -> None:
        lines = [line.strip() for line in WORDS.read_text(encoding="utf-8").splitlines()]
        words = [line for line in lines if line and not line.startswith("#")]
        self.masked = any_of([word for word in words if not word.startswith("!")])
        self.refused = any_of([word[1:].strip() for word in words if word.startswith("!")])
        self.log.info("%d words", len(words))

    @on("message.incoming")
    def read(self, ctx: Context) -> None:
        content = ctx.get("content", "")
        if found := self.refused.search(content):
            ctx.reply({"code": "bad_word", "message": f"“{found[0]}” is not welcome here"})
            ctx.stop()
            return
        clean = self.masked.sub(lambda word: word[0][0] + "*" * (len(word[0]) - 1), content)
        if clean != content:
            ctx.replace({**ctx.payload, "content": clean})


def any_of(words: list[str]) -> re.Pattern[str]:
    """Match any of these as a whole word, in any case; nothing if there are none."""
    # The longest first: "free bitcoins" must win over "free bitcoin".
    choices = "|".join(re.escape(word) for word in sorted(filter(None, words), key=len)[::-1])
    return re.compile(rf"(?<!\w)(?:{choices})(?!\w)" if choices else r"(?!)", re.IGNORECASE)


if __name__ == "__main__":
    run_plugin(WordFilter)
