"""Plugins that fall as soon as they stand, with the settings as they come and in real time."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from tests.support.lab import Lab, new_lab
from tests.support.serving import DEADLINE_S, Serve

LOOPS = ("--uvloop", "--no-uvloop")
WINDOW_S = 60.0
MOST_STARTS = 6

# Each writes a line per start. The last one shakes hands and lives for a little more than a second,
# which some take for a good start.
ENDS = {
    "false": ("#!/bin/sh\necho >> starts\nexec /bin/false\n", "exited: code 1"),
    "true": ("#!/bin/sh\necho >> starts\nexec /bin/true\n", "exited: code 0"),
    "late": (
        """
        print(file=open("starts", "a"))
        Connection().greet()
        time.sleep(1.1)
        sys.exit(1)
        """,
        "exited: code 1",
    ),
}


@pytest.fixture
def labs() -> Iterator[list[Lab]]:
    """One for each loop: both wait for the same minute."""
    with ExitStack() as stack:
        made = [stack.enter_context(new_lab()) for _ in LOOPS]
        for lab in made:
            for name, (program, _) in ENDS.items():
                directory = lab.plugin(name, program)
                if program.startswith("#!"):
                    (directory / name).write_text(program)
        yield made


def starts(lab: Lab, plugin: str) -> int:
    return (lab.plugins / plugin / "starts").read_text().count("\n")


@pytest.mark.nightly
@pytest.mark.timeout(WINDOW_S + 2 * DEADLINE_S)
def test_a_plugin_that_falls_for_ever_is_started_six_times_a_minute_at_most(
    labs: list[Lab],
) -> None:
    began = time.monotonic()
    with ExitStack() as stack:
        hosts = [stack.enter_context(Serve(*pair)) for pair in zip(labs, LOOPS, strict=True)]
        for host in hosts:
            for name in ENDS:
                host.wait_for_log(f"plugin {name} is in a crash loop")
                told = host.status(name)
                assert (told["substate"], told["reason"]) == ("crash_loop", ENDS[name][1])
                assert 0 < told["next_retry_at"] - time.time() <= 300
                assert re.search(r"next_retry_at +2\d{3}-", host.ask("status", name).stdout)
        while time.monotonic() < began + WINDOW_S:
            counts = {name: [starts(lab, name) for lab in labs] for name in ENDS}
            assert max(map(max, counts.values())) <= MOST_STARTS, counts
            time.sleep(0.1)
        assert {host.status(name)["substate"] for host in hosts for name in ENDS} == {"crash_loop"}
