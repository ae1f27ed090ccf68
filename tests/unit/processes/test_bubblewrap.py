"""The command line of a sandbox, made with a ``bwrap`` that works, or does not."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vconnect.errors import PluginStartError
from vconnect.processes import bubblewrap
from vconnect.processes.bubblewrap import Bubblewrap, View
from vconnect.settings.limits import ResourceLimits

Program = Callable[[str, str], Path]
NO_LIMITS = ResourceLimits()
VIEW = View(
    package=Path("/plugins/example"),
    directory=Path("/data/example"),
    socket=Path("/run/vp/runtime.sock"),
    secrets=Path("/run/vp/secrets/example"),
    writable=(Path("/data/example"), Path("/tmp/example")),
    readable=(Path("/opt/models"),),
)


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Program:
    """Writes a program; the PATH leads to these and to nothing else."""
    directory = tmp_path / "bin"
    directory.mkdir()
    monkeypatch.setenv("PATH", str(directory))

    def write(name: str, script: str) -> Path:
        path = directory / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def bwrap(program: Program) -> Path:
    """A ``bwrap`` that says yes to everything, and counts how often it is asked."""
    return program("bwrap", 'echo "$@" >> "$0.asked"')


def wrap(
    maker: Bubblewrap, view: View = VIEW, limits: ResourceLimits = NO_LIMITS
) -> tuple[str, ...]:
    if not maker.is_probed:
        asyncio.run(maker.probe())
    return maker.wrap("example", ("./example", "--debug"), view, limits)


def wrapped(view: View = VIEW, limits: ResourceLimits = NO_LIMITS) -> tuple[str, ...]:
    return wrap(Bubblewrap(), view, limits)


def mounts(command: tuple[str, ...], option: str) -> list[tuple[str, str]]:
    """Source and target of each mount of a kind."""
    places = [place for place, word in enumerate(command) if word == option]
    return [(command[place + 1], command[place + 2]) for place in places]


def refused(words: str, limits: ResourceLimits = NO_LIMITS) -> PluginStartError:
    with pytest.raises(PluginStartError, match=words) as caught:
        wrapped(limits=limits)
    return caught.value


def test_the_plugins_command_comes_last_and_unchanged(bwrap: Path) -> None:
    command = wrapped()
    assert command[0] == str(bwrap)
    assert command[command.index("--") :] == ("--", "./example", "--debug")


@pytest.mark.parametrize(
    "option",
    ["--unshare-user", "--unshare-pid", "--unshare-ipc", "--die-with-parent", "--unshare-net"],
)
def test_it_is_cut_off(bwrap: Path, option: str) -> None:
    command = wrapped()
    assert option in command[: command.index("--")]


def test_it_keeps_its_session(bwrap: Path) -> None:
    assert "--new-session" not in wrapped()


def test_only_what_is_its_own_is_writable(bwrap: Path) -> None:
    paths = ["/data/example", "/tmp/example"]
    assert mounts(wrapped(), "--bind") == [(path, path) for path in paths]


def test_its_package_secrets_and_socket_are_read_only(bwrap: Path) -> None:
    paths = [
        "/opt/models",
        "/plugins/example",
        "/run/vp/secrets/example",
        "/run/vp/runtime.sock",  # nobody needs to write to it to connect
    ]
    assert mounts(wrapped(), "--ro-bind") == [(path, path) for path in paths]


def test_what_lies_deeper_is_mounted_later(bwrap: Path) -> None:
    command = wrapped()
    order = ["--tmpfs", "/opt/models", "/plugins/example", "/tmp/example", "/run/vp/runtime.sock"]
    places = [command.index(word) for word in order]
    assert places == sorted(places)


def test_no_password_and_no_home_is_to_be_seen(bwrap: Path) -> None:
    sources = {source for source, _ in mounts(wrapped(), "--ro-bind-try")}
    assert "/usr" in sources
    for secret in ("/", "/etc", "/etc/shadow", "/etc/ssl", "/etc/ssl/private", "/root", "/home"):
        assert secret not in sources


def test_the_hosts_python_is_to_be_seen(bwrap: Path) -> None:
    sources = [Path(source) for source, _ in mounts(wrapped(), "--ro-bind-try")]
    for place in (sys.prefix, sys.base_prefix):
        assert any(Path(place).is_relative_to(source) for source in sources)


def test_it_begins_in_its_working_directory(bwrap: Path) -> None:
    command = wrapped()
    assert command[command.index("--chdir") + 1] == "/data/example"


def test_the_network_is_there_only_if_it_is_granted(bwrap: Path) -> None:
    online = View(
        package=VIEW.package,
        directory=VIEW.package,
        socket=VIEW.socket,
        secrets=VIEW.secrets,
        writable=(),
        network=True,
    )
    assert "--unshare-net" not in wrapped(online)


def test_limits_are_set_inside(bwrap: Path, program: Program) -> None:
    prlimit = program("prlimit", "")
    limits = ResourceLimits(nofile=64)
    command = wrapped(limits=limits)
    inside = command[command.index("--") + 1 :]
    assert inside == (str(prlimit), *limits.arguments(), "./example", "--debug")


def test_without_prlimit_nothing_runs_without_its_limits(bwrap: Path) -> None:
    assert "install util-linux" in str(refused("prlimit", ResourceLimits(nofile=64)))


def test_without_bwrap_nothing_runs(program: Program) -> None:
    assert refused("install bubblewrap").plugin == "example"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo 'bwrap: No permissions to create a namespace' >&2; exit 1", "No permissions"),
        ("printf 'first\\nsecond\\n' >&2; exit 1", "on this machine: first; "),
        ("exit 7", "it exits with code 7"),
        ("printf '\\377' >&2; exit 1", "\ufffd"),
    ],
)
def test_a_machine_that_cannot_do_it_says_why(program: Program, script: str, words: str) -> None:
    program("bwrap", script)
    assert words in str(refused("a sandbox on this machine"))


def test_a_bwrap_that_hangs_is_given_up(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bubblewrap, "_PROBE_TIMEOUT_S", 0.05)
    program("bwrap", "exec /bin/sleep 60")
    refused(r"no answer within 0\.05 s")


def test_the_proof_is_made_once(bwrap: Path) -> None:
    maker = Bubblewrap()
    for _ in range(3):
        wrap(maker)
    assert len(Path(f"{bwrap}.asked").read_text().splitlines()) == 1


def test_a_failure_is_tried_again(program: Program) -> None:
    maker = Bubblewrap()
    program("bwrap", "exit 1")
    with pytest.raises(PluginStartError):
        wrap(maker)
    program("bwrap", "exit 0")
    assert wrap(maker)


def test_another_bwrap_is_proven_anew(
    bwrap: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    maker = Bubblewrap()
    wrap(maker)
    other = tmp_path / "other"
    other.mkdir()
    (other / "bwrap").write_text("#!/bin/sh\nexit 1\n")
    (other / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{other}{os.pathsep}{bwrap.parent}")
    with pytest.raises(PluginStartError, match=str(other)):
        wrap(maker)


def test_a_program_that_is_none_is_an_os_error(program: Program) -> None:
    program("bwrap", "").write_bytes(b"\x7fELF, but not really")
    with pytest.raises(OSError, match="bwrap"):
        wrapped()
