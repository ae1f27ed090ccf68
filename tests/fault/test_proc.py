"""A host whose ``/proc`` hides plugins, or is not there: it still ends what it has started."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from tests.support.lab import Lab, is_alive
from tests.support.nobody import as_nobody
from tests.support.serving import Serve, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")

LOOPS = pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
GUARDED = pytest.mark.parametrize("guardian", ["--guardian", "--no-guardian"])

HIDEPID = "mount -t proc -o hidepid=2 proc /proc"
EMPTY = "mount -t tmpfs none /proc"

# As after execve of a program that may not be read: /proc/PID belongs to root, and hidepid=2 does
# not list it.
HIDDEN = """
import ctypes
ctypes.CDLL(None).prctl(4, 0)  # PR_SET_DUMPABLE
serve()
"""


def with_proc(mount: str) -> tuple[str, ...]:
    """Return the words before a command that gives it a ``/proc`` of its own."""
    words = ("unshare", "--mount", "/bin/sh", "-c", f'{mount} && exec "$@"', "sh")
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    done = subprocess.run([*words, "true"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a /proc: {done.stderr.strip()}")
    return words


def ends_what_it_started(lab: Lab, host: Serve) -> None:
    """Stop one plugin, end the host, and see that both plugins have ended at once."""
    pids = {name: host.wait_until(name, "Running")["pid"] for name in ("stopped", "left")}
    assert host.ask("stop", "stopped").returncode == 0
    assert not is_alive(pids["stopped"])
    assert host.status("stopped")["status"] == "Stopped"
    host.process.terminate()
    # With its guardian, which passes the signal on and has the exit code of the host.
    took = wait_until(lambda: host.process.poll() is not None, "the end of the host")
    assert host.process.returncode == 0
    assert not is_alive(pids["left"])
    assert took < 10  # the stop timeout is 5 s, and no plugin needs it
    assert "Traceback" not in host.log.read_text()


@LOOPS
@GUARDED
def test_a_plugin_that_proc_hides_is_stopped(lab: Lab, loop: str, guardian: str) -> None:
    lab.plugin("stopped", HIDDEN)
    lab.plugin("left", HIDDEN)
    before = (*with_proc(HIDEPID), *as_nobody(lab))
    with Serve(lab, loop, guardian, before=before) as host:
        ends_what_it_started(lab, host)


@LOOPS
@GUARDED
def test_without_proc_plugins_are_stopped_and_the_host_says_so(
    lab: Lab, loop: str, guardian: str
) -> None:
    lab.plugin("stopped", "serve()")
    lab.plugin("left", "serve()")
    with Serve(lab, loop, guardian, before=with_proc(EMPTY)) as host:
        ends_what_it_started(lab, host)
        assert "there is no /proc that shows this process" in host.log.read_text()
