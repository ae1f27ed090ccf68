"""The commands that ask a host, run in this process against a real administration socket."""

from __future__ import annotations

import io
import json
import sys

import pytest
from tests.support.fake_manager import (
    FakeManager,
    answered,
    failed,
    failing,
    plugin_summary,
    served_beside,
)

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.errors import PluginStartError, PluginTimeoutError, PluginUnavailableError
from vconnect.seeing.summary import PluginSummary

pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


# --- list and status ----------------------------------------------------------------------------


def test_list_shows_each_plugin(admin: str, capsys: Printed) -> None:
    assert vconnect("list", "--admin", admin) == 0
    heading, example, broken, footer = capsys.readouterr().out.splitlines()
    assert heading.split() == ["NAME", "STATE", "EVENTS", "P99", "WHY"]
    assert example.split()[1] == "example"
    assert broken.split()[1] == "broken"
    assert footer == "1 of 2 does not serve. Next: vconnect why broken"
    assert vconnect("list", "--wide", "--sort", "name", "--admin", admin) == 0
    assert "4242" in capsys.readouterr().out
    assert vconnect("--quiet", "list", "--admin", admin) == 0
    assert capsys.readouterr().out == ""


def test_list_as_json_is_what_the_interface_answers(admin: str, capsys: Printed) -> None:
    assert vconnect("list", "--json", "--admin", admin) == 0
    listed = json.loads(capsys.readouterr().out)
    assert set(listed) == {"host", "generated_at", "window_s", "plugins"}
    plugins = listed["plugins"]
    assert [plugin["name"] for plugin in plugins] == ["example", "broken"]
    assert set(plugins[0]) == set(PluginSummary.__struct_fields__)


def test_status_shows_a_plugin_or_the_host(admin: str, capsys: Printed) -> None:
    assert vconnect("status", "wk.plugin.example", "--admin", admin) == 0
    assert "4242, generation 1" in capsys.readouterr().out
    assert vconnect("status", "--crashes", "--admin", admin) == 2
    capsys.readouterr()
    assert vconnect("status", "--admin", admin) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["pid", "99"] in lines
    assert ["guardian_pid", "98"] in lines
    assert ["uptime", "12s"] in lines


def test_status_as_json_is_the_object(admin: str, capsys: Printed) -> None:
    assert vconnect("status", "example", "--json", "--admin", admin) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "example"
    assert vconnect("status", "--json", "--admin", admin) == 0
    assert json.loads(capsys.readouterr().out)["uptime_s"] == 12.0


@pytest.mark.parametrize("name", ["nobody", "../x", "..", "%2e%2e%2fx"])
@pytest.mark.parametrize("command", ["status", "logs", "start", "stop", "restart"])
def test_an_unknown_name_is_an_error(
    command: str, name: str, admin: str, manager: FakeManager, capsys: Printed
) -> None:
    assert vconnect(command, name, "--admin", admin) == 4
    assert capsys.readouterr().err == f"error: {name}: no such plugin\n"
    assert vconnect(command, name, "--json", "--admin", admin) == 4
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {
        "code": "unknown_plugin",
        "message": f"{name}: no such plugin",
        "next": "see vconnect list",
        "status": 404,
    }
    assert manager.calls == []


def test_why_is_one_line_and_an_exit_code(manager: FakeManager, capsys: Printed) -> None:
    manager.plugins["example"] = plugin_summary(serving=True)
    with served_beside(manager) as path:
        assert vconnect("why", "example", "--admin", str(path)) == 0
        assert capsys.readouterr().out == "runs: no event in the last minute\n"
        assert vconnect("why", "broken", "--admin", str(path)) == 1
        printed = capsys.readouterr().out
        assert printed == "exited: code 2. Next: vconnect logs broken\n"
        assert vconnect("why", "broken", "--json", "--admin", str(path)) == 1
        assert json.loads(capsys.readouterr().out)["code"] == "failed"
        assert vconnect("why", "nobody", "--admin", str(path)) == 4
    assert vconnect("why", "example", "--admin", str(path)) == 5
    assert "start one with: vconnect serve" in capsys.readouterr().err


# --- start, stop, restart -----------------------------------------------------------------------


def test_actions_say_where_the_plugin_is_then(admin: str, capsys: Printed) -> None:
    assert vconnect("stop", "example", "--admin", admin) == 0
    assert vconnect("start", "example", "--admin", admin) == 0
    assert vconnect("restart", "broken", "--admin", admin) == 0
    assert capsys.readouterr().out == (
        "example is Stopped (pid 4242)\n"
        "example is Running (pid 4242)\n"
        "broken is Running: exited: code 2\n"
    )


@pytest.mark.parametrize("action", ["start", "stop", "restart", "enable", "disable", "release"])
def test_a_dry_run_says_which_plugins_are_meant(
    admin: str, manager: FakeManager, capsys: Printed, action: str
) -> None:
    assert vconnect(action, "ex*", "--dry-run", "--admin", admin) == 0
    assert capsys.readouterr().out == f"would {action} example, which is Running\n"
    assert vconnect(action, "--all", "--dry-run", "--json", "--admin", admin) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["example", "broken"]
    assert vconnect(action, "nobody", "--dry-run", "--admin", admin) == 4
    assert "no such plugin" in capsys.readouterr().err
    assert manager.summary("example").status == "Running"


def test_an_action_as_json_is_the_summary(admin: str, capsys: Printed) -> None:
    assert vconnect("restart", "example", "--json", "--admin", admin) == 0
    assert json.loads(capsys.readouterr().out)["generation"] == 2


def test_a_failed_start_says_why(capsys: Printed) -> None:
    with served_beside(failing(PluginStartError("example", "exited: code 2"))) as path:
        assert vconnect("start", "example", "--admin", str(path)) == 1
    assert capsys.readouterr().err == "error: example: exited: code 2\n"


# --- emit ---------------------------------------------------------------------------------------


def test_emit_shows_the_answers(admin: str, manager: FakeManager, capsys: Printed) -> None:
    assert vconnect("emit", "message.incoming", '{"content": "hi"}', "--admin", admin) == 0
    assert '{"content":"hi"}' in capsys.readouterr().out
    assert manager.calls == [("chain", "message.incoming", {"content": "hi"}, None)]


def test_emit_takes_mode_timeout_and_plugin(admin: str, manager: FakeManager) -> None:
    options = ("--timeout", "2.5", "--admin", admin)
    assert vconnect("emit", "e", "[1]", "--mode", "broadcast", *options) == 0
    assert vconnect("emit", "e", "null", "--plugin", "v.plugin.example", *options) == 0
    assert manager.calls == [("broadcast", "e", [1], 2.5), ("request", "e", None, 2.5)]


def test_emit_as_json_is_the_outcome(admin: str, capsys: Printed) -> None:
    assert vconnect("emit", "e", "{}", "--json", "--admin", admin) == 0
    outcome = json.loads(capsys.readouterr().out)
    assert set(outcome) == {"results", "stopped_by", "payload", "reason", "refusal"}
    assert [result["ok"] for result in outcome["results"]] == [True, True]


def test_emit_reads_stdin(
    admin: str, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"n": "ü"}'.encode())))
    assert vconnect("emit", "e", "-", "--admin", admin) == 0
    assert manager.calls == [("chain", "e", {"n": "ü"}, None)]


def test_emit_fails_if_any_plugin_failed(admin: str, manager: FakeManager, capsys: Printed) -> None:
    manager.results = [
        answered("example", {}),
        failed("broken", "no"),
    ]
    assert vconnect("emit", "e", "{}", "--json", "--admin", admin) == 1
    assert len(json.loads(capsys.readouterr().out)["results"]) == 2


def test_emit_to_nobody_and_a_stopped_chain_are_no_failures(
    admin: str, manager: FakeManager, capsys: Printed
) -> None:
    manager.results = []
    assert vconnect("emit", "e", "{}", "--admin", admin) == 0
    manager.results, manager.stopped_by = [answered("example", {})], "example"
    assert vconnect("emit", "e", "{}", "--admin", admin) == 0
    assert capsys.readouterr().out.endswith("stopped by example\n")


@pytest.mark.parametrize(
    ("error", "code", "exit_code"),
    [
        (PluginTimeoutError("example", "no answer within 5 s"), "deadline_exceeded", 124),
        (PluginUnavailableError("example", "not connected"), "unavailable", 3),
    ],
)
def test_emit_to_one_plugin_that_fails(
    error: Exception, code: str, exit_code: int, capsys: Printed
) -> None:
    with served_beside(failing(error)) as path:
        arguments = ("emit", "e", "{}", "--plugin", "example", "--json", "--admin", str(path))
        assert vconnect(*arguments) == exit_code
    told = json.loads(capsys.readouterr().out)["error"]
    assert (told["code"], told["message"]) == (code, str(error))


@pytest.mark.parametrize("text", ["", "{", '{"a": nope}', "NaN", "'x'", '"\udcff"'])
def test_emit_shows_where_json_is_wrong(text: str, capsys: Printed) -> None:
    assert vconnect("emit", "e", text) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: invalid value for JSON: not valid JSON: ")
    assert "line 1 column" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        ("emit", "e"),
        ("emit", "e", "{}", "--mode", "all"),
        ("emit", "e", "{}", "--mode", "chain", "--plugin", "example"),
        ("emit", "e", "{}", "--timeout", "0"),
        ("start",),
        ("start", ""),
        ("status", ""),
        ("status", "\udcff"),
        ("emit", "", "{}"),
        ("emit", "\udcff", "{}"),
        ("emit", "e", "{}", "--plugin", ""),
        ("list", "--nope"),
        ("nope",),
        ("serve", "--log-level", "loud"),
        ("new", "x", "--lang", "cobol"),
        ("--nope",),
    ],
)
def test_wrong_usage_exits_with_2(arguments: tuple[str, ...], capsys: Printed) -> None:
    assert vconnect(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert vconnect(*arguments, "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "usage"


@pytest.mark.parametrize("more", [[], ["--json"], ["--dry-run"]])
def test_a_pattern_that_means_nothing_is_like_a_name_that_is_unknown(
    admin: str, more: list[str], capsys: Printed
) -> None:
    assert vconnect("stop", "zz*", "--admin", admin, *more) == 4
    printed = capsys.readouterr()
    assert "no plugin is named like 'zz*'" in printed.out + printed.err
