"""The table of SECURITY.md: what a plugin can do in each sandbox, tried by a plugin in it."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import shutil
import socket
import sys
from pathlib import Path

import pytest
from tests.support.lab import PLUGINS, Lab
from tests.support.sandboxes import needs_bwrap

from vconnect.admin.servers.server import AdminServer
from vconnect.errors import PluginStartError
from vconnect.processes.landlock import supported_version

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sandboxes need Linux")

ROOT = Path(__file__).parents[2]
LEVELS = ["off", "nnp", "landlock", "bwrap"]
#: The versions of Landlock that bring what the table says: files, TCP and signals.
WHOLE_LANDLOCK = 6
needs_landlock = pytest.mark.skipif(
    supported_version() < WHOLE_LANDLOCK, reason="this kernel's Landlock has less"
)
CONFINED = (
    pytest.param("landlock", marks=needs_landlock),
    pytest.param("bwrap", marks=needs_bwrap),
)

TRY_ALL = """
def can(what):
    try:
        return bool(what())
    except OSError:
        return False

def write(path):
    with open(path, "w") as file:
        file.write("x")
    return True

def read(path):
    with open(path) as file:
        return file.read()

SOCKET = sys.argv[sys.argv.index("--socket") + 1]

def change_mode(path):
    os.chmod(path, 0o660)
    return True

def tcp():
    with socket.create_connection(("127.0.0.1", int(os.environ["PORT"])), 5):
        return True

def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return one.sendto(b"x", ("127.0.0.1", int(os.environ["UDP_PORT"])))

def administer():
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(os.environ["ADMIN"])
        one.sendall(b"GET /api/host HTTP/1.0\\r\\nHost: vconnect\\r\\n\\r\\n")
        return b" 200 " in one.recv(4096).split(b"\\r\\n")[0]

def signal_host():
    os.kill(int(os.environ["HOST"]), 0)
    return True

def answer(event):
    data, package = os.environ["VCONNECT_DATA_DIR"], os.path.dirname(sys.argv[0])
    outside = os.environ["OUTSIDE"]
    return {"status": "ok", "data": {
        "change a file outside of its own directories": can(lambda: write(outside + "/new")),
        "change the mode of a file of the host's user": can(lambda: change_mode(SOCKET)),
        "read a file of the host's user": can(lambda: read(outside + "/token")),
        "gain privileges by a setuid program":
            can(lambda: "NoNewPrivs:\\t0" in read("/proc/self/status")),
        "administer its host": can(administer),
        "send a signal to the host": can(signal_host),
        "connect by TCP": can(tcp),
        "send by UDP": can(udp),
        "see other processes": os.path.exists(f"/proc/{os.environ['HOST']}"),
        "read its own package and write its data":
            can(lambda: read(package + "/plugin.json")) and can(lambda: write(data + "/x")),
    }}

serve(answer)
"""


def table() -> dict[str, dict[str, bool]]:
    """What SECURITY.md says, by level."""
    section = (ROOT / "SECURITY.md").read_text().split("## What each sandbox stops")[1]
    rows = re.findall(
        r"^\| ([^|`…]+) \| (\w+) \| (\w+) \| (\w+) \| (\w+) \|$", section, re.MULTILINE
    )
    return {
        level: {name: values[number] == "yes" for name, *values in rows}
        for number, level in enumerate(LEVELS)
    }


def arrived(heard: socket.socket) -> bool:
    """Return whether there is a datagram; on loopback, it is there once it has been sent."""
    heard.setblocking(False)
    try:
        return bool(heard.recv(16))
    except BlockingIOError:
        return False


@pytest.mark.parametrize(
    "level",
    [
        "off",
        "nnp",
        *CONFINED,
    ],
)
async def test_a_plugin_can_what_the_table_says(lab: Lab, level: str) -> None:
    outside = lab.directory / "outside"
    outside.mkdir()
    (outside / "token").write_text("secret")
    (outside / "token").chmod(0o600)
    lab.plugin("tries", TRY_ALL)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    heard = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    heard.bind(("127.0.0.1", 0))
    admin = lab.socket.with_name("admin.sock")
    env = {
        "OUTSIDE": str(outside),
        "UDP_PORT": str(heard.getsockname()[1]),
        "PORT": str(server.sockets[0].getsockname()[1]),
        "ADMIN": str(admin),
        "HOST": str(os.getpid()),
    }
    options = {"sandbox": level, "sandbox_read": [str(PLUGINS)], "env": env}
    async with server, lab.manager(**options) as runtime:
        administration = AdminServer(runtime, admin)
        await administration.start()
        try:
            await runtime.start_all()
            said = table()[level]
            assert len(said) == 10
            told = await runtime.request("tries", "e", {})
            told["send by UDP"] = arrived(heard)  # it may be sent, and lead nowhere
            assert told == said
            # The operator is not taken for a plugin.
            assert not runtime.is_confined(os.getpid())
        finally:
            await administration.stop()
            heard.close()


async def test_what_cannot_be_had_is_no_start(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.plugin("caged", "serve()")
    for version, words in ((0, "this kernel has no Landlock"), (3, "cannot take the network away")):
        monkeypatch.setattr("vconnect.processes.landlock.supported_version", lambda v=version: v)
        async with lab.manager(sandbox="landlock") as runtime:
            await runtime.start_all()
            summary = runtime.summary("caged")
            assert (summary.status, summary.substate) == ("Error", "spawn_failed")
            assert words in summary.reason


@needs_landlock
async def test_network_where_it_is_granted(lab: Lab) -> None:
    code = """
    def answer(event):
        with socket.create_connection(("127.0.0.1", event["payload"]), 5):
            return {"status": "ok", "data": True}
    serve(answer)
    """
    lab.plugin("caged", code)
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    options = {"sandbox": "landlock", "sandbox_network": True, "sandbox_read": [str(PLUGINS)]}
    async with server, lab.manager(**options) as runtime:
        await runtime.start_all()
        port = server.sockets[0].getsockname()[1]
        assert await runtime.request("caged", "e", port) is True


TRY_CALLS = """
import ctypes, platform, subprocess, threading
C = ctypes.CDLL(None, use_errno=True)
# Of x86-64, and of arm64.
CALLS = {
    "ptrace": (101, 117), "mount": (165, 40), "add_key": (248, 217), "unshare": (272, 97),
    "bpf": (321, 280), "io_uring_setup": (425, 425), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
}
COLUMN = platform.machine() == "aarch64"

def error_of(number):
    ctypes.set_errno(0)
    C.syscall(ctypes.c_long(number), ctypes.c_long(0), ctypes.c_long(0), ctypes.c_long(0))
    return ctypes.get_errno()

def answer(event):
    errors = {name: error_of(numbers[COLUMN]) for name, numbers in CALLS.items()}
    try:
        socket.socket(38, socket.SOCK_SEQPACKET).close()  # AF_ALG
        errors["socket"] = 0
    except OSError as error:
        errors["socket"] = error.errno
    # What every program does.
    said = subprocess.run(["echo", "said"], capture_output=True).stdout
    ran = []
    thread = threading.Thread(target=ran.append, args=(1,))
    thread.start()
    thread.join()
    return {"status": "ok", "data": {"errors": errors, "said": said.decode(), "ran": ran}}

serve(answer)
"""


@pytest.mark.parametrize(
    "level",
    [
        "nnp",
        *CONFINED,
    ],
)
async def test_calls_that_no_plugin_needs_are_denied(lab: Lab, level: str) -> None:
    lab.plugin("tries", TRY_CALLS)
    options = {"sandbox": level, "sandbox_read": [str(PLUGINS)]}
    async with lab.manager(**options, sandbox_seccomp=True) as runtime:
        await runtime.start_all()
        told = await runtime.request("tries", "e", {})
    assert told.pop("errors") == {
        **dict.fromkeys(
            (
                *("ptrace", "mount", "add_key", "unshare", "bpf"),
                *("io_uring_setup", "userfaultfd", "perf_event_open"),
            ),
            errno.EPERM,
        ),
        "socket": errno.EAFNOSUPPORT,
    }
    assert told == {"said": "said\n", "ran": [1]}


async def test_a_filter_without_a_sandbox_is_no_start(lab: Lab) -> None:
    lab.plugin("tries", TRY_CALLS)
    async with lab.manager(sandbox_seccomp=True) as runtime:
        await runtime.discover_plugins()
        with pytest.raises(PluginStartError, match="sandbox_seccomp needs a sandbox"):
            await runtime.start_plugin("tries")


USE_GIT = """
import subprocess
def answer(event):
    os.chdir(os.environ["VCONNECT_DATA_DIR"])
    ran = subprocess.run(["git", "init", "-q", "here"], capture_output=True, text=True)
    return {"status": "ok", "data": [ran.returncode, ran.stderr, os.path.isdir("here/.git")]}
serve(answer)
"""


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize(
    "level",
    [
        *CONFINED,
    ],
)
async def test_git_works(lab: Lab, level: str) -> None:
    # It gives up if it may not read a file of the system's that is there.
    lab.plugin("tracks", USE_GIT)
    options = {"sandbox": level, "sandbox_read": [str(PLUGINS)]}
    async with lab.manager(**options) as runtime:
        await runtime.start_all()
        assert await runtime.request("tracks", "e", {}) == [0, "", True]
