"""Hosts that run as the user nobody, where the tests run as root."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from tests.support.lab import Lab

NOBODY = 65534
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=-all,+dac_read_search"),
)


def as_nobody(lab: Lab) -> tuple[str, ...]:
    """Return the words before a command that take root's privileges from it.

    Root is bound by no limit on processes, and sees what is hidden. So nobody runs the command, who
    may read what root may, and has no other privilege. The lab becomes nobody's.
    """
    if os.geteuid() != 0:
        return ()
    words = AS_NOBODY
    if shutil.which("setpriv") is None:
        pytest.skip("the tests run as root, and setpriv is not installed")
    done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the tests run as root, and cannot become nobody: {done.stderr.strip()}")
    for path in (lab.directory, *lab.directory.rglob("*")):
        os.chown(path, NOBODY, NOBODY)
    return words


def bound_by_modes() -> tuple[str, ...]:
    """Return the words before a command that let the modes of files hold for root too."""
    if os.geteuid() != 0:
        return ()
    if shutil.which("setpriv") is None:
        pytest.skip("the tests run as root, and setpriv is not installed")
    dropped = "-dac_override,-dac_read_search,-fowner"
    return ("setpriv", f"--bounding-set={dropped}", f"--inh-caps={dropped}")
