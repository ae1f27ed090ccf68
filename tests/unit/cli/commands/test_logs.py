"""``vconnect logs``: the newest lines, and those that follow."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from tests.support.fake_manager import FakeManager

from vconnect.cli import following
from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.logs.ring import LogRing

pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


def test_logs_show_the_newest_as_text(admin: str, manager: FakeManager, capsys: Printed) -> None:
    for n in range(200):
        manager.says("example", f"line {n}")
    manager.says("example", "[red]\x1b[2J\u202e<script>", "error", who="ada\x07", n=[1])
    assert vconnect("logs", "example", "-n", "2", "--admin", admin) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" INFO  line 199")
    assert second.endswith(r" ERROR [red]\x1b[2J\u202e<script> who=ada\x07 n=[1]")
    assert vconnect("logs", "example", "--admin", admin) == 0
    assert len(capsys.readouterr().out.splitlines()) == 100
    assert vconnect("logs", "example", "--level", "warn", "--admin", admin) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert vconnect("logs", "broken", "--admin", admin) == 0
    assert capsys.readouterr().out == ""


def test_logs_tell_starts_and_ends_between_the_lines(
    admin: str, manager: FakeManager, capsys: Printed
) -> None:
    manager.says("example", "generation 1 has started (pid 7)", "info", "state")
    manager.says("example", "ERROR example: no disk", "error")
    manager.says("example", "exited: code 3", "error", "state")
    assert vconnect("logs", "example", "--admin", admin) == 0
    lines = [line.split(maxsplit=2)[2] for line in capsys.readouterr().out.splitlines()]
    # The fake host's records are all of one moment.
    assert lines == [
        "ERROR example: no disk",
        "INFO  vconnect: generation 1 has started (pid 7)",
        "ERROR vconnect: exited: code 3",
    ]
    # For programs there is the summary.
    assert vconnect("logs", "example", "--json", "--admin", admin) == 0
    (record,) = json.loads(capsys.readouterr().out)
    assert record["text"] == "ERROR example: no disk"


def test_logs_as_json_are_an_array(admin: str, manager: FakeManager, capsys: Printed) -> None:
    manager.says("example", "\x9b31m", n=1)
    assert vconnect("logs", "example", "--json", "--admin", admin) == 0
    printed = capsys.readouterr().out
    (record,) = json.loads(printed)
    assert (record["seq"], record["text"], record["fields"]) == (1, "\x9b31m", {"n": 1})
    assert "\x9b" not in printed


@pytest.mark.parametrize("options", [("-n", "0"), ("-n", "x"), ("--level", "loud")])
def test_logs_refuse_wrong_options(options: tuple[str, ...], admin: str, capsys: Printed) -> None:
    assert vconnect("logs", "example", *options, "--admin", admin) == 2
    assert "logs --help" in capsys.readouterr().err


# --- following -------------------------------------------------------------------------------


class Clock:
    """Stands in for the pauses between two questions: each does what the test asks for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *turns: Callable[[], object]) -> None:
        self._turns = list(turns)
        self.pauses: list[float] = []
        self._sleep = asyncio.sleep
        monkeypatch.setattr(asyncio, "sleep", self._pause)

    async def _pause(self, seconds: float, *_: object) -> None:
        if seconds != following._POLL_INTERVAL:
            return await self._sleep(seconds)
        self.pauses.append(seconds)
        if not self._turns:
            raise KeyboardInterrupt
        self._turns.pop(0)()
        return None


def texts(printed: str) -> list[str]:
    return [json.loads(line)["text"] for line in printed.splitlines()]


def follow(admin: str, *options: str) -> int:
    return vconnect("logs", "example", "-f", "--json", *options, "--admin", admin)


def test_what_follows_is_shown_once_and_in_order(
    admin: str, manager: FakeManager, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.says("example", "old")
    manager.says("example", "newest")

    def speak() -> None:
        manager.says("example", "one")
        manager.says("example", "two")

    clock = Clock(monkeypatch, speak, lambda: None, lambda: manager.says("example", "three"))
    assert follow(admin, "-n", "1") == 130
    assert texts(capsys.readouterr().out) == ["newest", "one", "two", "three"]
    assert len(clock.pauses) == 4


def test_a_full_page_is_followed_at_once_by_the_next(
    admin: str, manager: FakeManager, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "_PAGE_LINES", 3)

    def speak() -> None:
        for n in range(7):
            manager.says("example", f"{n}")

    clock = Clock(monkeypatch, speak)
    assert follow(admin, "-n", "1") == 130
    assert texts(capsys.readouterr().out) == [f"{n}" for n in range(7)]
    assert len(clock.pauses) == 2


def test_a_level_holds_for_what_follows_too(
    admin: str, manager: FakeManager, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speak() -> None:
        manager.says("example", "quiet")
        manager.says("example", "loud", "error")

    Clock(monkeypatch, speak, speak)
    assert follow(admin, "--level", "warn") == 130
    assert texts(capsys.readouterr().out) == ["loud", "loud"]


def test_a_log_that_has_begun_anew_is_shown_from_its_beginning(
    admin: str, manager: FakeManager, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(5):
        manager.says("example", f"old {n}")

    def begin_anew() -> None:
        with manager.lock:
            manager.rings["example"] = LogRing(10)
            manager.says("example", "new")

    Clock(monkeypatch, begin_anew)
    assert follow(admin) == 130
    out, err = capsys.readouterr()
    assert texts(out)[-2:] == ["old 4", "new"]
    assert err.strip() == "the plugin's log has been reset"


def test_what_was_lost_between_two_questions_is_counted(
    admin: str, manager: FakeManager, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.rings["example"] = LogRing(2)

    def flood() -> None:
        for n in range(5):
            manager.says("example", f"{n}")

    Clock(monkeypatch, flood)
    manager.says("example", "before")
    assert follow(admin) == 130
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row.get("text", row.get("dropped")) for row in rows] == ["before", 3, "3", "4"]


def test_starts_and_ends_follow_too(
    admin: str, manager: FakeManager, capsys: Printed, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.says("example", "generation 1 has started", "info", "state")

    def end() -> None:
        manager.says("example", "no disk", "error")
        manager.says("example", "exited: code 3", "error", "state")

    Clock(monkeypatch, lambda: None, end, lambda: None)
    assert vconnect("logs", "example", "-f", "--admin", admin) == 130
    lines = [line.split(maxsplit=2)[2] for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "INFO  vconnect: generation 1 has started"
    assert sorted(lines[1:]) == ["ERROR no disk", "ERROR vconnect: exited: code 3"]


def test_several_logs_are_one_in_the_order_of_time(
    admin: str, manager: FakeManager, capsys: Printed
) -> None:
    manager.says("example", "one")
    manager.says("broken", "two\x1b[2J", "error")
    manager.happenings.add("example", "warn", "three\x1b[2J")
    assert vconnect("logs", "--all", "--host", "--admin", admin) == 0
    lines = capsys.readouterr().out.splitlines()
    shown = sorted(line.split(maxsplit=2)[2] for line in lines)
    assert shown == [
        r"broken       ERROR two\x1b[2J",
        r"example      INFO  one",
        r"host         WARN  example: three\x1b[2J",
    ]
    assert vconnect("logs", "b*", "--admin", admin) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert vconnect("logs", "x*", "--admin", admin) == 2
    assert vconnect("logs", "--admin", admin) == 2


def test_lines_are_chosen_by_text_and_time(
    admin: str, manager: FakeManager, capsys: Printed
) -> None:
    manager.says("example", "needle")
    manager.says("example", "hay")
    assert vconnect("logs", "example", "--grep", "need", "--admin", admin) == 0
    assert capsys.readouterr().out.endswith("INFO  needle\n")
    # The fake host's records are of the year 2001.
    assert vconnect("logs", "example", "--since", "10m", "--admin", admin) == 0
    assert capsys.readouterr().out == ""
    assert vconnect("logs", "example", "--since", "2000-01-01", "--admin", admin) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert vconnect("logs", "example", "--since", "tomorrow", "--admin", admin) == 2
    assert "expected 10m (ago), 14:02" in capsys.readouterr().err
