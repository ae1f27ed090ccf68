"""A Unix socket that only this user can reach, protected by a lock against a second host."""

# The idea: a process that can connect can act as a plugin or as an operator, so the socket must
# never be open to other users, not even between bind() and chmod(). Mode 0600 comes with the bind,
# and the directory must be one in which no other user can replace the file.
#
# A lock file, not the socket, decides who serves a path. The kernel releases a lock when its holder
# dies, while a socket file stays behind and looks the same as a live one.

from __future__ import annotations

import fcntl
import os
import socket
import stat
import sys
from contextlib import suppress
from pathlib import Path

from vconnect.descriptors import keep_from_children
from vconnect.durable import make_directories
from vconnect.errors import SocketError
from vconnect.names import MAX_SOCKET_PATH_BYTES
from vconnect.settings.paths import absolute_path

# Connections that may wait to be accepted: all plugins of a large host that reconnect at once.
_BACKLOG = 512
# Both are needed to connect.
_OWNERS = stat.S_IRUSR | stat.S_IWUSR


class PrivateSocket:
    """A bound Unix socket of mode 0600 in a directory that only we can write to.

    Attributes:
        path: The absolute path.
        socket: The bound, listening socket. Its user may close it.
    """

    def __init__(
        self, path: Path, lock: int, bound: socket.socket, *, is_activated: bool = False
    ) -> None:
        self.path = path
        self.socket = bound
        self._lock = lock
        self._inode = _inode(path)
        self._is_activated = is_activated  # the service manager keeps listening when we have exited
        self._pid = os.getpid()
        keep_from_children(self)

    def descriptors(self) -> list[int]:
        """Return its descriptors, which forked children must not hold."""
        return [number for number in (self.socket.fileno(), self._lock) if number >= 0]

    def is_intact(self) -> bool:
        """Return whether the path still refers to this socket."""
        return self._inode is not None and _inode(self.path) == self._inode

    def restore_mode(self) -> bool:
        """Let this user connect again if the socket's mode says otherwise; return whether it did.

        A wider mode is kept: the operator may have let a group in.

        Raises:
            OSError: The mode cannot be changed.
        """
        mode = self.path.lstat().st_mode
        if mode & _OWNERS == _OWNERS:
            return False
        self.path.chmod(stat.S_IMODE(mode) | _OWNERS)
        return True

    def rebind(self) -> socket.socket:
        """Bind the path again, after it was deleted.

        Raises:
            SocketError: The path is now something other than a socket, or cannot be bound.
        """
        _clear_stale(self.path)
        self.socket = _bind(self.path)
        self._inode = _inode(self.path)
        # From now on the socket is ours, not the service manager's, and is unlinked at the end.
        self._is_activated = False
        return self.socket

    def close(self) -> None:
        """Close the socket, unlink the path if it is still ours, and release the lock."""
        self.socket.close()
        # A forked child that unwinds its parent's blocks is not the one that serves.
        if self.is_intact() and not self._is_activated and self._pid == os.getpid():
            self.path.unlink(missing_ok=True)
        # Closed twice, the second time must not unlink what another host has bound meanwhile.
        self._inode = None
        if self._lock >= 0:
            # Closing is not enough if a child was forked by other means than Python's.
            with suppress(OSError):
                fcntl.flock(self._lock, fcntl.LOCK_UN)
            os.close(self._lock)
            self._lock = -1


def bind_private_socket(path: str | Path, listening: socket.socket | None = None) -> PrivateSocket:
    """Bind a Unix socket that only this user can reach, protected against a second host.

    A lock file beside it (``PATH.lock``) decides who serves the path; a socket without a holder is
    taken over. Anything other than a socket is never unlinked.

    Args:
        path: The path; ``~`` is expanded.
        listening: A socket that already listens there, opened by the service manager.

    Raises:
        SocketError: The path is too long, its directory is not private to us, another host holds
            it, or something other than a socket is in the way.
    """
    where = absolute_path(path)
    check_length(where)
    _make_private_directory(where.parent)
    # Before the socket is touched: a stale socket and a live one look the same on disk.
    lock = _take_lock(where)
    try:
        if listening is not None:
            _check_activated(listening, where)
            return PrivateSocket(where, lock, listening, is_activated=True)
        _clear_stale(where)
        return PrivateSocket(where, lock, _bind(where))
    except BaseException:
        os.close(lock)
        raise


def sweep_sockets(directory: Path, suffix: str) -> None:
    """Remove the sockets in a directory that nobody serves any more, with their locks.

    A socket with a PID in its name is never bound again, so its lock may go too.

    Args:
        directory: The directory; what in it is not ours or no socket is left alone.
        suffix: The end of the sockets' names.
    """
    for path in directory.glob(f"*{suffix}"):
        lock = path.with_name(path.name + ".lock")
        with suppress(OSError):
            found = path.lstat()
            if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
                continue
            held = os.open(lock, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
                lock.unlink()
            finally:
                os.close(held)


def check_length(path: Path) -> None:
    """Refuse a path that is too long for a socket.

    Raises:
        SocketError: It is; the message has the limit.
    """
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise SocketError(
            f"socket path {path} has {length} bytes; the kernel allows {MAX_SOCKET_PATH_BYTES}. "
            "Use a shorter path, such as ~/vp/sockets/runtime.sock"
        )


def _make_private_directory(directory: Path) -> None:
    """Create missing directories with mode 0700; refuse one that other users could write to."""
    try:
        if not os.path.lexists(directory):  # a link that leads nowhere is refused below
            make_directories(directory)
        found = directory.lstat()
    except OSError as error:
        raise SocketError(f"socket directory {directory}: {error.strerror}") from error
    if not stat.S_ISDIR(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "not a directory"
        raise SocketError(f"socket directory {directory} is {kind}; use a real directory")
    # The owner of a directory can replace what is in it, whatever the file's mode.
    if found.st_uid != os.geteuid():
        raise SocketError(
            f"socket directory {directory} belongs to user {found.st_uid}, "
            f"this host runs as user {os.geteuid()}; use a directory that you own"
        )
    # Only writing is refused: the socket has mode 0600, so that others may see but not use it.
    if found.st_mode & 0o022:
        # Only a sticky directory is meant to be shared, such as /tmp.
        is_shared = bool(found.st_mode & stat.S_ISVTX)
        remedy = "use" if is_shared else f"try: chmod 700 {directory}, or use"
        raise SocketError(
            f"socket directory {directory} is writable by other users "
            f"(mode {stat.S_IMODE(found.st_mode):04o}); {remedy} a directory of your own"
        )


def _take_lock(path: Path) -> int:
    """Lock ``PATH.lock``. It is never deleted, so that two hosts never lock different files."""
    lock_path = path.with_name(path.name + ".lock")
    try:
        lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SocketError(f"lock file {lock_path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # The holder writes its PID below; the text is only for this message.
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise SocketError(
            f"{_in_words(holder)} serves {path}; stop it first, or use another socket path"
        ) from None
    # After the lock is held: the PID of another host must stay readable.
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except OSError as error:
        os.close(lock)
        raise SocketError(f"lock file {lock_path} cannot be written: {error.strerror}") from error
    return lock


def _in_words(holder: str) -> str:
    """Describe who holds the lock, from the PID that the lock file has."""
    if holder.isdigit() and _is_gone(int(holder)):
        return f"a process forked by a host that has ended (PID {holder}), or another container,"
    return f"another host (PID {holder})"


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return False


def _check_activated(listening: socket.socket, path: Path) -> None:
    """Refuse a socket from the service manager that is not the one plugins are told to use."""
    name = listening.getsockname()
    if not isinstance(name, str) or absolute_path(name) != path:
        raise SocketError(
            f"the service manager listens on {name!r}, but socket_path is {path}; "
            "set ListenStream= and socket_path to the same path"
        )


def _clear_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise SocketError(f"socket path {path}: {error.strerror}") from error
    # Only a socket can be stale. Anything else may be data.
    if not stat.S_ISSOCK(mode):
        raise SocketError(f"{path} exists and is not a socket; move it away or use another path")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise SocketError(f"stale socket {path}: {error.strerror}") from error


def _bind(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.setblocking(False)
        if sys.platform == "linux":
            # bind() gives the file the socket's own mode, so it is never open to others, whatever
            # the umask. Changing the umask would affect all threads of the process.
            os.fchmod(bound.fileno(), 0o600)
            bound.bind(str(path))
        else:
            # Elsewhere the mode of the socket itself does not count, only the umask does.
            before = os.umask(0o177)
            try:
                bound.bind(str(path))
            finally:
                os.umask(before)
        bound.listen(_BACKLOG)
    except OSError as error:
        bound.close()
        raise SocketError(f"cannot listen on {path}: {error.strerror}") from error
    return bound


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except OSError:
        return None
    # The link itself, not its target: what counts is what bind() has created.
    return found.st_dev, found.st_ino
