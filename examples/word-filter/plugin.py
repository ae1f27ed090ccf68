#!/usr/bin/env python3
"""Stop messages that contain a blocked word; mask other words in those that pass.

Its priority is high, so that it is called before the plugins that answer: they never see what it
stops, and they see rewritten what it rewrites.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from vconnect import Context, Plugin, on, run_plugin


@dataclass
class Words:
    """The plugin's configuration; the defaults are in ``plugin.json``."""

    blocked: list[str] = field(default_factory=list)
    masked: dict[str, str] = field(default_factory=dict)


class WordFilter(Plugin):
    plugin_no = "wk.plugin.word-filter"
    version = "0.1.0"
    priority = 100
    config_type = Words
    config: Words

    def on_start(self) -> None:
        """Compile the words once: this runs after the configuration arrives, before any event."""
        self.prepare(self.config)

    def on_config_update(self, config: Words) -> None:
        self.prepare(config)

    def prepare(self, words: Words) -> None:
        self.blocked = any_of(words.blocked)
        self.masked = any_of(words.masked)
        self.masks = {word.casefold(): mask for word, mask in words.masked.items()}
        self.log.info("%d blocked and %d masked words", len(words.blocked), len(words.masked))

    @on("message.incoming")
    def filter(self, ctx: Context) -> None:
        content = ctx.get("content", "")
        if not isinstance(content, str):
            return  # a picture or a file: nothing to read here
        found = self.blocked.search(content)
        if found:
            ctx.reply({"blocked": True, "reason": f"the message contains {found[0]!r}"})
            ctx.stop()  # no plugin after this one gets the message
            return
        clean = self.masked.sub(lambda match: self.masks[match[0].casefold()], content)
        if clean != content:
            ctx.replace({**ctx.payload, "content": clean})  # what the plugins after it see


def any_of(words: list[str] | dict[str, str]) -> re.Pattern[str]:
    """Match any of ``words`` as a whole word, in any case; nothing if there are none."""
    if not words:
        return re.compile(r"(?!)")
    # The longest first: "free bitcoins" must win over "free bitcoin".
    choices = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{choices})(?!\w)", re.IGNORECASE)


if __name__ == "__main__":
    run_plugin(WordFilter)
