"""The command line that runs a plugin in a bubblewrap (``bwrap``) sandbox."""

# A sandboxed plugin sees the system and its package read-only, its own data and temporary
# directory, its secrets and the host's plugin socket. It sees no other process, and no network
# unless granted.
#
# It stays in its session (no `--new-session`), because the session is how its process tree is found
# and ended, and how the host identifies who connects. `bwrap` itself is the leader and outlives the
# plugin just long enough to pass on its exit status.

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from vconnect.errors import PluginStartError
from vconnect.settings.limits import ResourceLimits
from vconnect.threads import in_thread

# The PID namespace hides other processes, and the kernel ends everything in it with its first one.
# `--die-with-parent` covers the death of `bwrap` and of the host.
_NAMESPACES = tuple(
    """
    --unshare-user --unshare-ipc --unshare-pid --unshare-uts --unshare-cgroup-try
    --cap-drop ALL --die-with-parent
    """.split()
)
# Distributions differ in which of these exist and which are links, hence `--ro-bind-try` below.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/nix/store")
# What programs need to find libraries, host names and certificates; no passwords and no keys.
ETC = tuple(
    """
    ld.so.cache ld.so.conf ld.so.conf.d alternatives localtime mime.types passwd group
    nsswitch.conf hosts resolv.conf host.conf gai.conf protocols services ssl/certs
    ssl/openssl.cnf ca-certificates pki/tls/certs pki/ca-trust crypto-policies
    """.split()
)
# The probe only runs `true`. The limit keeps a hanging `bwrap` from blocking a start forever.
_PROBE_TIMEOUT_S = 5.0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What a plugin sees in its sandbox, in addition to the system.

    Attributes:
        package: The plugin's package, read-only.
        directory: The working directory, one of the others.
        socket: The plugin socket.
        secrets: The directory of its secrets, read-only.
        writable: Directories that the plugin may write.
        readable: Additional paths that the plugin may read.
        network: Whether the plugin uses the host's network.
        is_filtered: Whether its system calls are filtered; the filter is on descriptor 4.
    """

    package: Path
    directory: Path
    socket: Path
    secrets: Path
    writable: tuple[Path, ...]
    readable: tuple[Path, ...] = ()
    network: bool = False
    is_filtered: bool = False


class Bubblewrap:
    """Builds command lines for ``bwrap``, after verifying that it works on this machine.

    Only success is remembered, because an operator may enable user namespaces while the host runs.
    A failure applies to one start, and the next start probes again.
    """

    def __init__(self) -> None:
        self._working = ""  # the program that has created a sandbox
        self._failure: OSError | str = ""  # of the last probe, until `wrap` has reported it

    @property
    def is_probed(self) -> bool:
        """Whether `wrap` can be called now; otherwise call `probe` first."""
        program = shutil.which("bwrap")
        return program is None or program == self._working or bool(self._failure)

    async def probe(self) -> None:
        """Create one sandbox, in a thread: a kernel may forbid that. `wrap` reports the result."""
        program = shutil.which("bwrap")
        if program is None:
            return
        try:
            problem = await in_thread(None, _try, program)
        except OSError as error:
            self._failure = error
            return
        if problem:
            self._failure = (
                f'sandbox = "bwrap": {program} cannot create a sandbox on this machine: {problem}; '
                "check that user namespaces are enabled"
            )
        else:
            self._working = program

    def wrap(
        self, plugin: str, argv: Sequence[str], view: View, limits: ResourceLimits
    ) -> tuple[str, ...]:
        """Return the command that runs ``argv`` in a sandbox, with ``limits``.

        Raises:
            PluginStartError: This machine cannot do it. There is no fallback to less isolation.
            OSError: The probe could not be started.
        """
        program = self._program(plugin)
        limiter = _limiter(plugin, limits)
        return (program, *_NAMESPACES, *_mounts(view), "--", *limiter, *argv)

    def _program(self, plugin: str) -> str:
        failure, self._failure = self._failure, ""
        program = shutil.which("bwrap")
        if program is None:
            raise PluginStartError(
                plugin, 'sandbox = "bwrap": bwrap was not found on the PATH; install bubblewrap'
            )
        if program == self._working:
            return program
        if isinstance(failure, OSError):
            raise failure
        raise PluginStartError(
            plugin, failure or f'sandbox = "bwrap": {program} was just replaced; start again'
        )


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
    # One line, because it becomes part of an error message.
    said = done.stderr.decode("utf-8", "replace").split("\n")[0].strip()
    return said or f"it exits with code {done.returncode}"


def _limiter(plugin: str, limits: ResourceLimits) -> list[str]:
    """Set limits inside the sandbox: set from outside, they might come after `bwrap` forked."""
    options = limits.arguments()
    if not options:
        return []
    program = shutil.which("prlimit")
    if program is None:
        raise PluginStartError(
            plugin, "limits in a sandbox require the command prlimit; install util-linux"
        )
    return [program, *options]


def _mounts(view: View) -> Iterator[str]:
    """List the mounts. Later mounts cover earlier ones, so the order matters."""
    yield from ("--tmpfs", "/tmp", "--proc", "/proc", "--dev", "/dev")  # noqa: S108 - its own
    for path in (*SYSTEM, *(f"/etc/{name}" for name in ETC)):
        yield from ("--ro-bind-try", path, path)
    for path in python_places():
        yield from ("--ro-bind-try", path, path)
    # After what the operator adds, so that `sandbox_read` cannot hide the plugin's own directories.
    for readable in view.readable:
        yield from ("--ro-bind", str(readable), str(readable))
    yield from ("--ro-bind", str(view.package), str(view.package))
    for writable in view.writable:
        yield from ("--bind", str(writable), str(writable))
    yield from ("--ro-bind", str(view.secrets), str(view.secrets))
    # Who may only read it can connect all the same, but cannot change its mode for the others.
    yield from ("--ro-bind", str(view.socket), str(view.socket))
    if not view.network:
        yield "--unshare-net"
    if view.is_filtered:
        yield from ("--seccomp", "4")
    yield from ("--chdir", str(view.directory))


def python_places() -> list[str]:
    """Find the host's own Python and the SDK, for plugins that are written in Python."""
    places = [sys.base_prefix, sys.prefix, str(Path(__file__).parents[1])]
    return [place for place in places if not place.startswith("/usr/") and place != "/usr"]
