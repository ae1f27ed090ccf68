"""The command line that puts a plugin into a sandbox of bubblewrap (``bwrap``).

Inside, a plugin sees the system and its package read-only, its own data and temporary directory,
its secrets and the host's plugin socket; no other process, and no network unless it is granted.

It stays in its session (no ``--new-session``): that is how its whole tree is found and ended, and
how the host knows who connects. ``bwrap`` itself is the leader and outlives the plugin just long
enough to hand its exit status on.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from vconnect.errors import PluginStartError
from vconnect.settings.limits import ResourceLimits

_NAMESPACES = (
    *("--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-uts"),
    *("--unshare-cgroup-try", "--cap-drop", "ALL", "--die-with-parent"),
)
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
# What programs need to find libraries, names and certificates; no passwords, no keys.
_ETC = (
    *("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "mime.types"),
    *("passwd", "group", "nsswitch.conf", "hosts", "resolv.conf", "host.conf", "gai.conf"),
    *("protocols", "services", "ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs"),
    *("pki/ca-trust", "crypto-policies"),
)
_PROBE_TIMEOUT_S = 5.0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin sees in its sandbox, besides the system.

    Attributes:
        package: Its directory, read-only and the working directory.
        socket: The plugin socket.
        secrets: Read-only.
        writable: Directories that it may write.
        readable: More paths that it may read.
        network: Whether it has the host's network.
    """

    package: Path
    socket: Path
    secrets: Path
    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    network: bool = False


class Bubblewrap:
    """Builds command lines for ``bwrap``, after a proof that it works here."""

    def __init__(self) -> None:
        self._proven = ""

    def wrap(
        self, plugin: str, argv: Sequence[str], view: View, limits: ResourceLimits
    ) -> tuple[str, ...]:
        """Return the command that runs ``argv`` in a sandbox, held to ``limits``.

        Raises:
            PluginStartError: This machine cannot do it. Nothing is ever run with less.
            OSError: The proof could not be begun.
        """
        program = self._prove(plugin)
        limiter = _limiter(plugin, limits)
        return (program, *_NAMESPACES, *_mounts(view), "--", *limiter, *argv)

    def _prove(self, plugin: str) -> str:
        """Find the program, and let it make a sandbox once: a kernel may forbid that."""
        program = shutil.which("bwrap")
        if program is None:
            raise PluginStartError(
                plugin, 'sandbox = "bwrap": there is no bwrap on the PATH; install bubblewrap'
            )
        if program == self._proven:
            return program
        if problem := _try(program):
            raise PluginStartError(
                plugin,
                f'sandbox = "bwrap": {program} cannot make a sandbox on this machine: {problem}; '
                "user namespaces may be switched off",
            )
        self._proven = program
        return program


def _try(program: str) -> str:
    command = [program, *_NAMESPACES, "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc"]
    try:
        done = subprocess.run(
            [*command, "--", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_PROBE_TIMEOUT_S:g} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.decode("utf-8", "replace").split("\n")[0].strip()
    return said or f"it exits with code {done.returncode}"


def _limiter(plugin: str, limits: ResourceLimits) -> list[str]:
    """Limits are set inside: set from outside, they might come after `bwrap` has forked."""
    options = limits.arguments()
    if not options:
        return []
    program = shutil.which("prlimit")
    if program is None:
        raise PluginStartError(
            plugin, "limits in a sandbox need the command prlimit; install util-linux"
        )
    return [program, *options]


def _mounts(view: View) -> Iterator[str]:
    """List what is mounted; what comes later lies over what came before."""
    yield from ("--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev")  # noqa: S108 - its own
    for path in (*_SYSTEM, *(f"/etc/{name}" for name in _ETC)):
        yield from ("--ro-bind-try", path, path)
    for path in _python():
        yield from ("--ro-bind-try", path, path)
    for readable in view.readable:
        yield from ("--ro-bind", str(readable), str(readable))
    yield from ("--ro-bind", str(view.package), str(view.package))
    for writable in view.writable:
        yield from ("--bind", str(writable), str(writable))
    yield from ("--ro-bind", str(view.secrets), str(view.secrets))
    yield from ("--bind", str(view.socket), str(view.socket))
    if not view.network:
        yield "--unshare-net"
    yield from ("--chdir", str(view.package))


def _python() -> list[str]:
    """Where the host's own Python lies, with the kit, for plugins that are written in it."""
    places = [sys.base_prefix, sys.prefix, str(Path(__file__).parent)]
    return [place for place in places if not place.startswith("/usr/") and place != "/usr"]
