"""The socket's file: private, held by a lock, never in place of something else."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vconnect.errors import SocketError
from vconnect.sockets.private_socket import PrivateSocket, bind_private_socket, sweep_sockets


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sockets" / "runtime.sock"


@contextmanager
def bound(path: Path | str) -> Iterator[PrivateSocket]:
    private = bind_private_socket(path)
    try:
        yield private
    finally:
        private.close()


def is_served(path: Path) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def lock_of(path: Path) -> Path:
    return path.with_name(path.name + ".lock")


@contextmanager
def held(lock: Path) -> Iterator[None]:
    """Hold the lock, as another host would."""
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- binding ---------------------------------------------------------------------------------


def test_it_listens_and_waits_for_nobody(path: Path) -> None:
    with bound(path) as private:
        assert is_served(path)
        assert not private.socket.getblocking()
        assert not private.socket.get_inheritable()
        assert private.is_intact()


def test_its_path_is_absolute(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(path.parent.parent)
    with bound("sockets/../sockets/runtime.sock") as private:
        assert private.path == path
    monkeypatch.setenv("HOME", str(path.parent))
    with bound("~/runtime.sock") as private:
        assert private.path == path


def test_a_directory_that_others_may_read_is_good_enough(path: Path) -> None:
    path.parent.mkdir(mode=0o755)
    with bound(path):
        assert mode(path.parent) == 0o755
        assert mode(path) == 0o600


def test_the_end_leaves_the_lock_file_and_the_directory(path: Path) -> None:
    with bound(path):
        pass
    assert [entry.name for entry in path.parent.iterdir()] == ["runtime.sock.lock"]


def test_the_end_may_come_twice(path: Path) -> None:
    with bound(path) as private:
        private.close()
        with bound(path):
            private.close()
            assert is_served(path)


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (lambda d: d.symlink_to(d.parent), "is a symbolic link; use a real directory"),
        (lambda d: d.write_text(""), "is not a directory"),
        (
            lambda d: (d.mkdir(), d.chmod(0o770)),
            r"writable by other users \(mode 0770\).*chmod 700",
        ),
        (lambda d: (d.mkdir(), d.chmod(0o703)), r"writable by other users \(mode 0703\)"),
    ],
)
def test_directories_that_are_refused(
    path: Path, prepare: Callable[[Path], object], words: str
) -> None:
    prepare(path.parent)
    with pytest.raises(SocketError, match=words):
        bind_private_socket(path)


def test_a_foreign_directory_is_refused(path: Path) -> None:
    if os.geteuid() == 0:
        path.parent.mkdir(mode=0o700)
        os.chown(path.parent, 65534, -1)
    else:
        path = Path("/runtime.sock")
    with pytest.raises(SocketError, match=r"belongs to user \d+, this host runs as user \d+"):
        bind_private_socket(path)


def test_a_file_above_the_directory(path: Path) -> None:
    path.parent.write_text("")
    with pytest.raises(SocketError, match=r"socket directory .*: Not a directory"):
        bind_private_socket(path.parent / "sub" / "runtime.sock")


def test_a_directory_that_leads_nowhere(path: Path) -> None:
    path.parent.symlink_to("nowhere")
    with pytest.raises(SocketError, match="is a symbolic link"):
        bind_private_socket(path)
    assert not (path.parent.parent / "nowhere").exists()


def test_a_directory_of_the_sockets_own_name(path: Path) -> None:
    path.mkdir(parents=True, mode=0o700)
    with pytest.raises(SocketError, match="is not a socket; move it away"):
        bind_private_socket(path)


# --- the lock --------------------------------------------------------------------------------


def test_the_lock_file_names_its_holder(path: Path) -> None:
    with bound(path):
        assert lock_of(path).read_text() == f"{os.getpid()}\n"
        assert mode(lock_of(path)) == 0o600


def test_who_comes_second_does_no_harm_to_the_first(path: Path) -> None:
    with bound(path) as first:
        for _ in range(2):
            with pytest.raises(SocketError, match=rf"another host \(PID {os.getpid()}\)"):
                bind_private_socket(path)
        assert first.is_intact()
        assert is_served(path)


@pytest.mark.parametrize(
    ("text", "shown"), [(b"", "unknown"), (b"12345\n", "12345"), (b" \n", "unknown")]
)
def test_a_holder_that_has_not_said_who_it_is(path: Path, text: bytes, shown: str) -> None:
    path.parent.mkdir(mode=0o700)
    lock_of(path).write_bytes(text)
    with held(lock_of(path)), pytest.raises(SocketError, match=rf"\(PID {shown}\)"):
        bind_private_socket(path)


def test_a_holder_that_is_gone_is_told_so(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    lock_of(path).write_bytes(b"999999999\n")
    words = r"a process forked by a host that has ended \(PID 999999999\)"
    with held(lock_of(path)), pytest.raises(SocketError, match=words):
        bind_private_socket(path)


@contextmanager
def forked() -> Iterator[None]:
    """Have a child that goes on with this program, as ``multiprocessing`` may fork one."""
    (reading, writing), (ready, begun) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        os.close(writing)
        os.write(begun, b"1")
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    assert os.read(ready, 1) == b"1"
    try:
        yield
    finally:
        for descriptor in (writing, ready, begun):
            os.close(descriptor)
        assert os.waitpid(child, 0)[1] == 0


def test_a_forked_child_holds_neither_the_lock_nor_the_socket(path: Path) -> None:
    private = bind_private_socket(path)
    with forked():
        # Not by `close`, but as at the end of this process.
        for descriptor in private.descriptors():
            os.close(descriptor)
        private.socket.detach()
        private._lock = -1
        assert not is_served(path)
        with bound(path):
            assert is_served(path)


def test_a_child_that_unwinds_what_it_has_inherited_unlinks_nothing(path: Path) -> None:
    with bound(path) as private:
        child = os.fork()
        if not child:
            private.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert private.is_intact()
        assert is_served(path)


def test_the_end_gives_the_lock_up_even_if_somebody_else_has_the_descriptor(path: Path) -> None:
    private = bind_private_socket(path)
    copy = os.dup(private._lock)
    private.close()
    with bound(path):
        os.close(copy)


def test_a_lock_file_that_cannot_be_written_is_given_up(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", full)
        with pytest.raises(SocketError, match=r"lock cannot be written: No space left"):
            bind_private_socket(path)
    with bound(path):  # so the lock is free again
        assert is_served(path)


def test_what_a_dead_host_left_in_the_lock_file_is_overwritten(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    lock_of(path).write_text("4194305 and more than that\n")
    with bound(path):
        assert lock_of(path).read_text() == f"{os.getpid()}\n"


def test_a_lock_file_that_is_a_link_is_not_followed(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    precious = path.parent / "precious"
    precious.write_text("data")
    lock_of(path).symlink_to(precious)
    with pytest.raises(SocketError, match="lock file"):
        bind_private_socket(path)
    assert precious.read_text() == "data"


def test_a_refusal_gives_the_lock_up(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text("precious")
    with pytest.raises(SocketError, match="is not a socket"):
        bind_private_socket(path)
    path.unlink()
    with bound(path):
        assert is_served(path)


# --- a file that is lost ---------------------------------------------------------------------


def test_another_socket_in_its_place_is_not_ours_and_is_left(path: Path) -> None:
    with bound(path) as private, socket.socket(socket.AF_UNIX) as other:
        path.unlink()
        assert not private.is_intact()
        other.bind(str(path))
        other.listen()
        assert not private.is_intact()
        private.close()
        assert is_served(path)


def test_a_lost_file_is_bound_again(path: Path) -> None:
    with bound(path) as private:
        path.unlink()
        with private.socket:
            private.rebind()
        assert private.is_intact()
        assert is_served(path)
        assert mode(path) == 0o600
    assert not path.exists()


def test_what_is_no_socket_is_not_replaced_by_a_lost_one(path: Path) -> None:
    with bound(path) as private:
        path.unlink()
        path.write_text("precious")
        with pytest.raises(SocketError, match="is not a socket"):
            private.rebind()
        assert not private.is_intact()
    assert path.read_text() == "precious"


# --- the service manager's -------------------------------------------------------------------


def test_the_socket_that_the_service_manager_listens_on_stays(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        bind_private_socket(path, listening.dup()).close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))

        private = bind_private_socket(path, listening.dup())
        path.unlink()
        with private.socket:
            private.rebind()
        private.close()
        assert not path.exists()


@pytest.mark.parametrize("elsewhere", ["other.sock", ""])
def test_a_socket_of_the_service_managers_that_plugins_are_not_told_of(
    path: Path, elsewhere: str
) -> None:
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        if elsewhere:
            listening.bind(str(path.with_name(elsewhere)))
        with pytest.raises(SocketError, match="ListenStream= and socket_path"):
            bind_private_socket(path, listening)
    with bound(path):
        assert is_served(path)


def test_nobody_is_told_to_change_the_mode_of_a_shared_directory(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    with pytest.raises(SocketError, match="use a directory of your own") as caught:
        bind_private_socket(shared / "host.sock")
    assert "chmod" not in str(caught.value)


def test_sockets_of_hosts_that_were_killed_are_swept(tmp_path: Path) -> None:
    place = tmp_path / "admin"
    gone = bind_private_socket(place / "chat-1.admin.sock")
    stranger = bind_private_socket(place / "other.sock")
    (place / "file-3.admin.sock").write_text("no socket")
    # As the kernel leaves it when the process dies.
    os.close(gone._lock)
    gone.socket.close()
    stranger.socket.close()
    with bound(place / "chat-2.admin.sock"):
        sweep_sockets(place, ".admin.sock")
        left = sorted(path.name for path in place.iterdir() if path.name.startswith("chat"))
        assert left == ["chat-2.admin.sock", "chat-2.admin.sock.lock"]
        assert is_served(place / "chat-2.admin.sock")
    assert (place / "other.sock").exists()
    assert (place / "file-3.admin.sock").exists()
    gone._lock = -1
    stranger.close()
