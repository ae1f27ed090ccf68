"""What systemd hears, and what it hands over."""

import os
import socket
import subprocess
import sys

import pytest

from vconnect.host.systemd import Notifier, activated_socket


def test_nothing_happens_without_systemd():
    notifier = Notifier({})
    notifier.tell("READY=1")
    assert notifier.watchdog_interval is None
    assert activated_socket({}, os.getpid()) is None


@pytest.mark.parametrize("abstract", [False, True])
def test_fields_arrive_as_one_datagram(tmp_path, abstract):
    if abstract and sys.platform != "linux":
        pytest.skip("abstract addresses are Linux's")
    name = f"@vconnect-test-{os.getpid()}" if abstract else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(name.replace("@", "\0", 1))
        Notifier({"NOTIFY_SOCKET": name}).tell("READY=1", "STATUS=all is well")
        assert receiver.recv(1024) == b"READY=1\nSTATUS=all is well"


def test_a_manager_that_is_gone_stops_nothing(tmp_path, caplog):
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).tell("READY=1")
    assert "cannot notify systemd of READY=1" in caplog.text


def test_signs_of_life_come_twice_as_often_as_asked():
    environ = {"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "4000000"}
    assert Notifier(environ).watchdog_interval == 2
    assert Notifier(environ | {"WATCHDOG_PID": "1"}).watchdog_interval is None
    assert Notifier({"WATCHDOG_USEC": "4000000"}).watchdog_interval is None


def test_the_first_unix_stream_socket_is_ours(tmp_path):
    """In a process of its own, for descriptor 3 is somebody's here."""
    code = """
import os, socket, sys
from vconnect.host.systemd import activated_socket
tcp = socket.create_server(("127.0.0.1", 0))
unix = socket.socket(socket.AF_UNIX)
unix.bind(sys.argv[1])
unix.listen()
first, second = os.dup(tcp.fileno()), os.dup(unix.fileno())
os.dup2(first, 3)
os.dup2(second, 4)
pid = os.getpid()
environ = {"LISTEN_PID": str(pid), "LISTEN_FDS": "2"}
assert activated_socket(environ | {"LISTEN_PID": "1"}, pid) is None
found = activated_socket(environ, pid)
assert found.getsockname() == sys.argv[1]
assert not found.get_inheritable()
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "s")], check=True, timeout=30)
