"""Starts that come to nothing, and how an end is told; nothing here is a plugin."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from pathlib import Path

import pytest

from vconnect.errors import PluginStartError
from vconnect.processes.process import (
    ExitStatus,
    LaunchSpec,
    PluginProcess,
    SpawnedChild,
    start_error,
)


def spec(*argv: str, directory: Path = Path("/"), no_new_privs: bool = False) -> LaunchSpec:
    return LaunchSpec(
        plugin="example",
        argv=argv,
        directory=directory,
        environment={},
        no_new_privs=no_new_privs,
    )


def refused(wanted: LaunchSpec) -> PluginStartError:
    with pytest.raises(PluginStartError, match=r"^example: cannot start ") as caught:
        PluginProcess.spawn(wanted)
    return caught.value


def script(path: Path, text: str, mode: int = 0o755) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (ExitStatus(10, None), "exited: code 10"),
        (ExitStatus(2, None), "exited: code 2"),
        (ExitStatus(None, "SIGKILL"), "killed by SIGKILL"),
        (
            ExitStatus(None, None),
            "exited: its exit status was taken by another part of this program, or lost",
        ),
    ],
)
def test_an_end_in_words(status: ExitStatus, words: str) -> None:
    assert str(status).startswith(words)


@pytest.mark.parametrize(
    ("status", "clean"),
    [(ExitStatus(0, None), True), (ExitStatus(1, None), False), (ExitStatus(None, None), False)],
)
def test_only_a_code_of_zero_is_clean(status: ExitStatus, clean: bool) -> None:
    assert status.is_clean is clean


@pytest.mark.parametrize("no_new_privs", [False, True])
async def test_a_program_that_is_missing(tmp_path: Path, no_new_privs: bool) -> None:
    program = str(tmp_path / "none")
    error = refused(spec(program, no_new_privs=no_new_privs))
    assert f"{program}: no such file or directory; if the file is there" in error.message
    assert not error.is_transient


async def test_an_interpreter_that_is_missing(tmp_path: Path) -> None:
    for line in ("#!/no/such/interpreter", "#! /no/such/interpreter -x"):
        program = script(tmp_path / "run", f"{line}\n")
        words = refused(spec(str(program))).message
        assert words.endswith(
            "the interpreter in its first line is not there: /no/such/interpreter"
        )


async def test_a_program_that_may_not_be_executed(tmp_path: Path) -> None:
    program = script(tmp_path / "run", "#!/bin/sh\n", 0o644)
    assert f"permission denied; try: chmod +x {program}" in refused(spec(str(program))).message


async def test_a_file_that_is_no_program(tmp_path: Path) -> None:
    program = script(tmp_path / "run", "no first line that says how\n")
    assert "neither a program for this machine nor a script" in refused(spec(str(program))).message


async def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    assert (
        f"cannot start {missing}: no such" in refused(spec("/bin/true", directory=missing)).message
    )


async def test_a_program_that_is_open_for_writing(tmp_path: Path) -> None:
    program = tmp_path / "run"
    shutil.copy("/bin/true", program)
    with program.open("r+b"):
        error = refused(spec(str(program)))
    assert error.message == f"cannot start {program}: it is still being written"
    assert error.is_momentary


async def test_a_machine_without_dev_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "devnull", str(tmp_path / "null"))
    error = refused(spec("/bin/true"))
    assert "null: no such file or directory; a plugin's standard input is read from" in str(error)


async def test_a_word_that_no_command_line_can_hold() -> None:
    error = refused(spec("/bin/true", "a\0b"))
    assert "null byte" in error.message
    assert not error.is_transient


@pytest.mark.parametrize(
    ("number", "is_transient"),
    [
        (errno.EAGAIN, True),
        (errno.ENOMEM, True),
        (errno.EMFILE, True),
        (errno.ENFILE, True),
        (errno.ETXTBSY, True),
        (errno.ENOENT, False),
        (errno.EACCES, False),
        (errno.ENOSPC, False),
    ],
)
def test_what_the_machine_is_short_of_may_pass(number: int, is_transient: bool) -> None:
    error = start_error("example", "no", OSError(number, os.strerror(number)))
    assert error.is_transient is is_transient
    assert error.is_momentary is (number == errno.ETXTBSY)
    assert str(error) == "example: no"


def test_a_wrong_value_does_not_pass() -> None:
    assert not start_error("example", "no", ValueError("no")).is_transient


def started(*argv: str) -> SpawnedChild:
    return SpawnedChild(os.posix_spawn(argv[0], argv, {}))


@pytest.mark.parametrize("code", [0, 3])
def test_a_child_is_reaped_once_and_its_code_is_kept(code: int) -> None:
    child = started("/bin/sh", "-c", f"exit {code}")
    assert child.returncode is None
    assert [child.wait(), child.wait(), child.returncode] == [code, code, code]


def test_a_child_that_was_killed_has_a_negative_code() -> None:
    child = started("/bin/sh", "-c", "kill -TERM $$")
    assert child.wait() == -signal.SIGTERM


def test_a_child_that_somebody_else_has_reaped_ended_well() -> None:
    child = started("/bin/sh", "-c", "exit 3")
    os.waitpid(child.pid, 0)
    assert child.wait() == 0
