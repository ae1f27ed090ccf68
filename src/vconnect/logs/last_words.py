"""Finds what a program says about the reason for its end, among its last lines on stderr."""

# The idea: Python puts the cause last, most others do not. Rust ends with advice, Go with stack
# frames, Node with its version, a parser of options with its usage. So what is known to say nothing
# is skipped from the end, and from there the beginning of the message is searched, which names the
# kind of the error. Without such a beginning, the last line that says something is the answer.

from __future__ import annotations

import re
from collections.abc import Sequence

from .records import UNCAUGHT, find_level

# A message may have several lines, such as a validation error; a longer one is more than a reason.
_MAX_LINES = 10
_MAX_CHARACTERS = 400

_PANIC = re.compile(r"thread '[^\n]{0,200}? panicked at (.*:\d+):$")

# A frame of a stack. Messages do not go past one.
_FRAME = re.compile(
    r"\s+at |\s+File \"|\s+from |\s*#?\d+:? +(?:0x|\w+::|/|<|\{)|\s*\d+: |\t\S+:\d+(?: \+0x\w+)?$"
    r"|\s+\.\.\. \d+ (?:more|common)|goroutine \d+ |created by |[sS]tack backtrace:|Stack trace:"
    r"|#\d+ |\s*-+ (?:Native|JS) stack|<--- "
)
# Advice and other lines that are never the reason.
_NOISE = re.compile(
    r"\s*$|note: (?:run with|Some details)|Node\.js v\d|exit status \d+$|\[signal |r\w+\s+0x"
    r"|\S*env: use -\[v\]S|For more information, try|\(Did you mean |(?i:usage)\b"
    r"|\s*[|+]?\s*\+[-+ \d]+$"
)
# The functions of a stack in Go; each is followed by its position.
_GO_FUNCTION = re.compile(r"[\w./$*()·\[\]{}-]+\(.*\)$")
# Several causes of an error are numbered.
_NUMBER = re.compile(r"^\s+(?:\d+: )?")
# Python draws exceptions of a group inside bars.
_BARS = re.compile(r"\s+(?:\+ |\| )+ ?")
_UNREADABLE = re.compile(r"(?:SyntaxError|IndentationError|TabError): ")
_PLACE = re.compile(r'\s+File "(.+)", line (\d+)')
# rustc and others write one line per error, and then a summary that begins like one.
_COMPILER = re.compile(r"error(?:\[\w+\])?: ", re.IGNORECASE)


def last_words(lines: Sequence[str], *, only_errors: bool = False) -> str:
    """Return the reason that the last lines on stderr give for an end; empty if there is none.

    Args:
        lines: The lines, oldest first, without their ends.
        only_errors: Whether to return only what begins as an uncaught error does.
    """
    said = [_BARS.sub("", line).rstrip() if _BARS.match(line) else line.rstrip() for line in lines]
    said = _with_causes(said)
    end = _last_said(said)
    if end < 0 and not only_errors:
        return next((line.strip() for line in reversed(said) if line.strip()), "")
    begin = _beginning(said, end)
    if begin is not None:
        return _message(said, begin, end) + _place(said, begin)
    return "" if only_errors else _first_of_compiler(said) or said[end].strip()


def _with_causes(said: list[str]) -> list[str]:
    """Join an error and its causes, which Rust's anyhow and eyre put into a paragraph below."""
    if "Caused by:" not in said:
        return said
    at = len(said) - 1 - said[::-1].index("Caused by:")
    until = at + 1
    while until < len(said) and said[until].startswith("   "):
        until += 1
    if at < 2 or said[at - 1] or not said[at - 2] or until == at + 1:
        return said
    causes = (_NUMBER.sub("", line) for line in said[at + 1 : until])
    return [*said[: at - 2], "; ".join([said[at - 2], *causes]), *said[until:]]


def _last_said(said: Sequence[str]) -> int:
    """Return the index of the last line that says something, or -1."""
    end = len(said) - 1
    while end >= 0 and _says_nothing(said, end):
        # The properties of an error in Node, and what a parser of options lists under its usage.
        opened = _opened(said, end)
        end = end - 1 if opened is None else opened
    return end


def _says_nothing(said: Sequence[str], at: int) -> bool:
    line = said[at]
    if _NOISE.match(line) or _FRAME.match(line) or _opened(said, at) is not None:
        return True
    follower = said[at + 1] if at + 1 < len(said) else ""
    return bool(_GO_FUNCTION.match(line) and follower.startswith("\t"))


def _opened(said: Sequence[str], at: int) -> int | None:
    """Return the index of the line to continue at, if an indented block ends at ``at``."""
    line = said[at]
    if line != "}" and not line.startswith(("  ", "\t")):
        return None
    begin = at - 1
    while begin >= 0 and (not said[begin] or said[begin].startswith(("  ", "\t"))):
        begin -= 1
        if line == "}" and begin + 1 >= 0 and said[begin + 1].endswith(" {"):
            return begin + 1
    if line != "}" and begin >= 0 and said[begin].lower().startswith("usage"):
        return begin
    return None


def _beginning(said: Sequence[str], end: int) -> int | None:
    """Return where the message that ends at ``end`` begins, if it begins as an error's does."""
    for at in range(end, max(end - _MAX_LINES, -1), -1):
        line = said[at]
        if UNCAUGHT.match(line):
            return at
        # A line with a level is a record of its own, and the rest belongs to an earlier error.
        if not line or _FRAME.match(line) or find_level(line) is not None:
            return None
    return None


def _message(said: Sequence[str], begin: int, end: int) -> str:
    first, *more = said[begin : end + 1]
    panic = _PANIC.match(first)
    if panic is not None and more:
        first, more = f"panicked at {panic[1]}: {more[0].strip()}", more[1:]
    words = "; ".join([first.strip(), *(line.strip() for line in more)])
    return words if len(words) <= _MAX_CHARACTERS or not more else words[:_MAX_CHARACTERS] + " …"


def _place(said: Sequence[str], begin: int) -> str:
    """Return where Python found what it cannot read; the message alone does not say it."""
    if not _UNREADABLE.match(said[begin]):
        return ""
    places = (found for line in reversed(said[:begin]) if (found := _PLACE.match(line)))
    place = next(places, None)
    return f" ({place[1]}:{place[2]})" if place is not None else ""


def _first_of_compiler(said: Sequence[str]) -> str:
    """Return the first of several errors of a compiler, because the last only counts them."""
    errors = [at for at, line in enumerate(said) if _COMPILER.match(line.strip())]
    if len(errors) < 2:
        return ""
    first = errors[0]
    # rustc puts the position on the next line.
    where = said[first + 1].strip()
    return f"{said[first].strip()} {where if where.startswith('-->') else ''}".rstrip()
