"""Where errors end: one line or one JSON value, and the right exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable

import click
import pytest

from vconnect.cli.boundary import run
from vconnect.cli.context import State, pass_state
from vconnect.cli.output import print_json_lines
from vconnect.errors import (
    AdminError,
    ConfigError,
    ConflictError,
    HostUnreachableError,
    InstallError,
    ManifestError,
    PluginTimeoutError,
    SignatureError,
    UnknownPluginError,
)


def command_that(act: Callable[[], object]) -> click.Command:
    @click.command()
    @click.option("--json", "as_json", is_flag=True)
    @click.option("--debug", is_flag=True)
    @click.option("--number", type=int)
    @pass_state
    def command(state: State, as_json: bool, debug: bool, number: int | None) -> None:
        state.debug = debug
        act()

    return command


def raising(error: BaseException) -> click.Command:
    def act() -> None:
        raise error

    return command_that(act)


ERRORS = [
    (ConfigError("plugins.debug: expected `bool`"), 2, "config_error"),
    (ManifestError("plugin.json: name is missing"), 2, "manifest_error"),
    (click.UsageError("Too much."), 2, "usage"),
    (HostUnreachableError("no vconnect host answers"), 5, "host_unreachable"),
    (AdminError(404, "unknown_plugin", "nobody: no such plugin"), 4, "unknown_plugin"),
    (UnknownPluginError("nobody", "no such plugin"), 4, "unknown_plugin"),
    (ConflictError("example is installed"), 7, "conflict"),
    (SignatureError("the signature is not of this file"), 8, "signature_error"),
    (InstallError("not a package"), 1, "failed"),
    (PluginTimeoutError("example", "no answer"), 1, "failed"),
    (PermissionError(13, "Permission denied", "/etc/x"), 1, "os_error"),
]


@pytest.mark.parametrize(("error", "exit_code", "code"), ERRORS)
def test_an_error_is_one_line(
    error: Exception, exit_code: int, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(error), ["--number", "1"]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("error", "exit_code", "code"), ERRORS)
def test_with_json_an_error_is_one_value(
    error: Exception, exit_code: int, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(raising(error), ["--json"]) == exit_code
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == code
    assert err == ""


def test_with_json_an_error_is_one_line_behind_those_that_were_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def act() -> None:
        print_json_lines([{"n": 1}])
        raise AdminError(404, "unknown_plugin", "no plugin \udcff; see the list", "nothing")

    assert run(command_that(act), ["--json"]) == 4
    first, error = capsys.readouterr().out.splitlines()
    assert json.loads(first) == {"n": 1}
    assert json.loads(error)["error"] == {
        "code": "unknown_plugin",
        "message": "no plugin ?; see the list",
        "next": "see the list",
        "status": 404,
    }


def test_a_closed_pipe_ends_no_process_but_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr(sys, "stderr", sys.stderr)  # click puts something around it
    with open(writing, "w") as stdout:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", stdout)
        assert run(command_that(lambda: print_json_lines([{"n": 1}])), ["--json"]) == 1


def test_a_usage_error_before_json_is_read_is_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that(lambda: None), ["--number", "x", "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "usage"
    assert "'x' is not a valid integer" in error["message"]
    assert error["message"].endswith("; see: vconnect --help")


def test_json_after_the_end_of_options_is_an_argument(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(command_that(lambda: None), ["--", "--json"]) == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_success_is_zero_and_an_exit_code_is_kept() -> None:
    assert run(command_that(lambda: None), ["--number", "1"]) == 0
    assert run(command_that(lambda: click.get_current_context().exit(7)), ["--number", "1"]) == 7


def test_a_traceback_is_printed_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    command = raising(ConfigError("wrong"))
    run(command, ["--number", "1"])
    assert "Traceback" not in capsys.readouterr().err
    assert run(command, ["--debug"]) == 2
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: wrong\n")


def test_a_fault_of_ours_is_told_as_such(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(KeyError("x")), ["--number", "1"]) == 1
    assert capsys.readouterr().err == (
        "error: internal error of vconnect: KeyError: 'x'; "
        "for a traceback, use: vconnect --debug …\n"
    )


def test_an_error_cannot_reach_the_terminal_with_controls(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(raising(AdminError(409, "x", "evil\x1b[2J\nerror: second line")), ["--number", "1"])
    assert capsys.readouterr().err == "error: evil\\x1b[2J\\nerror: second line\n"


def test_an_interrupt_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(raising(KeyboardInterrupt()), ["--json"]) == 130
    out, err = capsys.readouterr()
    assert (out, err.strip()) == ("", "")


def test_an_os_error_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    run(raising(PermissionError(13, "Permission denied", "/etc/x")), ["--number", "1"])
    assert capsys.readouterr().err == "error: /etc/x: Permission denied\n"
