"""What a process does about its own descriptors, which is tried in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from vconnect.descriptors import Reserve


def told(code: str, before: str = "") -> str:
    """Run code in a process of its own, after ``before`` in a shell; return what it prints."""
    command = ["sh", "-c", f'{before} exec "$@"', "sh", sys.executable, "-c", code]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.strip()


def test_the_limit_is_raised_and_the_old_one_remembered():
    code = (
        "import resource\n"
        "from vconnect.descriptors import inherited_limit, limit, raise_limit\n"
        "print(inherited_limit(), limit())\n"
        "raise_limit(); raise_limit()\n"
        "print(inherited_limit(), limit(), resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    expected = "-1 100\n100 200 (200, 200)" if sys.platform == "linux" else "-1 100\n-1 200"
    assert told(code, "ulimit -Sn 100; ulimit -Hn 200;").startswith(expected)


def test_a_limit_that_is_high_enough_stays():
    code = (
        "from vconnect.descriptors import inherited_limit, limit, raise_limit\n"
        "raise_limit(); print(inherited_limit(), limit())"
    )
    assert told(code, "ulimit -n 200;") == "-1 200"


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- 2>&-"])
def test_standard_descriptors_that_are_closed_lead_nowhere(closed: str):
    code = (
        "import os\n"
        "from vconnect.descriptors import open_standard\n"
        "open_standard()\n"
        "import sys\n"
        "assert None not in (sys.stdin, sys.stdout, sys.stderr)\n"
        "null = os.stat('/dev/null')\n"
        "print(*(os.path.samestat(os.fstat(number), null) for number in (0, 2)),"
        " os.get_inheritable(0), os.get_inheritable(2), os.dup(0) > 2)"
    )
    command = f'exec "$@" {closed};'
    assert told(code, command).split() == [
        str("<&-" in closed),
        str("2>&-" in closed),
        "True",
        "True",
        "True",
    ]


def test_what_was_released_is_what_is_opened_next():
    reserve = Reserve()
    assert reserve
    reserve.release()
    assert not reserve
    reserve.release()
    taken = os.open(os.devnull, os.O_RDONLY)
    reserve.refill()
    reserve.refill()
    assert reserve
    os.close(taken)
    reserve.release()
