"""The commands, run in this process against a real administration socket."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, Result, Summary, failing, served_beside

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.errors import PluginStartError, PluginTimeoutError, PluginUnavailableError
from vconnect.plugins.status import PluginStatus
from vconnect.settings.model import Settings

Printed = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def _clean_surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in an empty directory and home, with no variable of ours."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("VCONNECT_ADMIN", "VCONNECT_ADMIN_PATH", "VCONNECT_SOCKET_PATH"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def manager() -> FakeManager:
    return FakeManager(
        Summary(name="example"),
        Summary(name="broken", status=PluginStatus.ERROR, reason="exited: code 2", pid=None),
    )


@pytest.fixture
def admin(manager: FakeManager) -> Iterator[str]:
    with served_beside(manager) as path:
        yield str(path)


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


# --- list and status ----------------------------------------------------------------------------


def test_list_shows_each_plugin(admin: str, capsys: Printed) -> None:
    assert vconnect("list", "--admin", admin) == 0
    heading, example, broken = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["name", "status", "pid"]
    assert example.split()[:3] == ["example", "Running", "4242"]
    assert "exited: code 2" in broken


def test_list_as_json_is_an_array_of_summaries(admin: str, capsys: Printed) -> None:
    assert vconnect("list", "--json", "--admin", admin) == 0
    plugins = json.loads(capsys.readouterr().out)
    assert [plugin["name"] for plugin in plugins] == ["example", "broken"]
    assert set(plugins[0]) == set(Summary.__struct_fields__)


def test_status_shows_a_plugin_or_the_host(admin: str, capsys: Printed) -> None:
    assert vconnect("status", "wk.plugin.example", "--admin", admin) == 0
    assert "Running" in capsys.readouterr().out
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
    assert vconnect(command, name, "--admin", admin) == 1
    assert capsys.readouterr().err == f"error: {name}: no such plugin\n"
    assert vconnect(command, name, "--json", "--admin", admin) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert error == {"code": "unknown_plugin", "message": f"{name}: no such plugin"}
    assert manager.calls == []


# --- logs ---------------------------------------------------------------------------------------


def test_logs_show_the_newest_as_text(admin: str, manager: FakeManager, capsys: Printed) -> None:
    for n in range(200):
        manager.says("example", f"line {n}")
    manager.says("example", "[red]\x1b[2J\u202e<script>", "error", who="ada\x07", n=[1])
    assert vconnect("logs", "example", "-n", "2", "--admin", admin) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" INFO  line 199")
    assert second.endswith(r" ERROR [red]\x1b[2J\u202e<script> who=ada\x07 n=[1]")
    assert vconnect("logs", "example", "--admin", admin) == 0
    assert len(capsys.readouterr().out.splitlines()) == 100
    assert vconnect("logs", "example", "--level", "warn", "--admin", admin) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert vconnect("logs", "broken", "--admin", admin) == 0
    assert capsys.readouterr().out == ""


def test_logs_as_json_are_an_array(admin: str, manager: FakeManager, capsys: Printed) -> None:
    manager.says("example", "\x9b31m", n=1)
    assert vconnect("logs", "example", "--json", "--admin", admin) == 0
    printed = capsys.readouterr().out
    (record,) = json.loads(printed)
    assert (record["seq"], record["text"], record["fields"]) == (1, "\x9b31m", {"n": 1})
    assert "\x9b" not in printed


@pytest.mark.parametrize("options", [("-n", "0"), ("-n", "x"), ("--level", "loud")])
def test_logs_refuse_wrong_options(options: tuple[str, ...], admin: str, capsys: Printed) -> None:
    assert vconnect("logs", "example", *options, "--admin", admin) == 2
    assert "logs --help" in capsys.readouterr().err


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
    assert set(outcome) == {"results", "stopped_by", "payload"}
    assert [result["ok"] for result in outcome["results"]] == [True, True]


def test_emit_reads_stdin(
    admin: str, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO('{"n": "ü"}'.encode())))
    assert vconnect("emit", "e", "-", "--admin", admin) == 0
    assert manager.calls == [("chain", "e", {"n": "ü"}, None)]


def test_emit_fails_if_any_plugin_failed(admin: str, manager: FakeManager, capsys: Printed) -> None:
    manager.results = [
        Result("example", True, {}, None, 1.0),
        Result("broken", False, None, "no", 1.0),
    ]
    assert vconnect("emit", "e", "{}", "--json", "--admin", admin) == 1
    assert len(json.loads(capsys.readouterr().out)["results"]) == 2


def test_emit_to_nobody_and_a_stopped_chain_are_no_failures(
    admin: str, manager: FakeManager, capsys: Printed
) -> None:
    manager.results = []
    assert vconnect("emit", "e", "{}", "--admin", admin) == 0
    manager.results, manager.stopped_by = [Result("example", True, {}, None, 1.0)], "example"
    assert vconnect("emit", "e", "{}", "--admin", admin) == 0
    assert capsys.readouterr().out.endswith("stopped by example\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PluginTimeoutError("example", "no answer within 5 s"), "deadline_exceeded"),
        (PluginUnavailableError("example", "not connected"), "unavailable"),
    ],
)
def test_emit_to_one_plugin_that_fails(error: Exception, code: str, capsys: Printed) -> None:
    with served_beside(failing(error)) as path:
        arguments = ("emit", "e", "{}", "--plugin", "example", "--json", "--admin", str(path))
        assert vconnect(*arguments) == 1
    assert json.loads(capsys.readouterr().out)["error"] == {"code": code, "message": str(error)}


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


# --- where the host is found --------------------------------------------------------------------


@pytest.mark.parametrize("command", [("list",), ("status",), ("emit", "e", "{}"), ("stop", "x")])
def test_no_host_exits_with_3(command: tuple[str, ...], tmp_path: Path, capsys: Printed) -> None:
    path = str(tmp_path / "admin.sock")
    assert vconnect(*command, "--admin", path) == 3
    err = capsys.readouterr().err
    assert err.startswith(f"error: no vconnect host answers at {path} (")
    assert err.endswith("; start one with: vconnect serve\n")
    assert vconnect(*command, "--admin", path, "--json") == 3
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "host_unreachable"


def test_the_socket_may_stand_before_the_command_or_in_the_environment(
    admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vconnect("--admin", admin, "list") == 0
    monkeypatch.setenv("VCONNECT_ADMIN", admin)
    assert vconnect("list") == 0
    assert vconnect("list", "--admin", "/nowhere.sock") == 3
    assert vconnect("--admin", "/nowhere.sock", "list") == 3


def test_the_socket_is_found_by_the_configuration(admin: str, tmp_path: Path) -> None:
    beside = Path(admin).with_name("runtime.sock")
    (tmp_path / "vconnect.toml").write_text(f"[plugins]\nsocket_path = '{beside}'\n")
    assert vconnect("list") == 0
    (tmp_path / "vconnect.toml").write_text("[plugins]\nadmin_path = 'none.sock'\n")
    assert vconnect("list") == 3
    (tmp_path / "other.toml").write_text(f"[plugins]\nadmin_path = '{admin}'\n")
    assert vconnect("list", "--config", "other.toml") == 0


def test_a_broken_configuration_matters_only_if_it_is_asked(
    admin: str, tmp_path: Path, capsys: Printed
) -> None:
    (tmp_path / "vconnect.toml").write_text("[plugins]\ndebugg = true\n")
    assert vconnect("list", "--admin", admin) == 0
    capsys.readouterr()
    assert vconnect("list") == 2
    assert "did you mean 'debug'?" in capsys.readouterr().err
    assert vconnect("list", "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "config_error"


def test_home_is_expanded(tmp_path: Path, capsys: Printed) -> None:
    assert vconnect("list") == 3
    assert f"at {tmp_path}/vp/sockets/admin.sock (" in capsys.readouterr().err


# --- serve --------------------------------------------------------------------------------------


@pytest.fixture
def served_settings(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """What `vconnect serve` hands to the runtime, which is not started here, nor guarded."""
    taken: list[Settings] = []
    runtime = ModuleType("vconnect.host.serve")

    def serve(settings: Settings, lifeline: object, progress: object) -> int:
        taken.append(settings)
        assert lifeline is None
        assert progress is None  # stderr is no terminal
        return 4

    monkeypatch.setenv("VCONNECT_GUARDIAN", "off")

    runtime.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vconnect.host.serve", runtime)
    monkeypatch.setattr("vconnect.host.serve", runtime, raising=False)
    return taken


def test_serve_hands_all_options_to_the_runtime(served_settings: list[Settings]) -> None:
    options: dict[str, Any] = {
        "--plugin-dir": "p",
        "--socket": "s/r.sock",
        "--admin": "s/a.sock",
        "--log-level": "trace",
    }
    flat = [text for pair in options.items() for text in pair]
    lists = ["--dev", "a:./a", "--dev", "wk.plugin.b:b:c", "--install", "x.vp", "--install", "y.vp"]
    assert vconnect("serve", *flat, *lists, "--debug", "--allow-external", "--no-uvloop") == 4
    (settings,) = served_settings
    here = Path.cwd()
    assert settings == Settings(
        guardian="off",
        plugin_dir=str(here / "p"),
        socket_path=str(here / "s/r.sock"),
        admin_path=str(here / "s/a.sock"),
        log_level="trace",
        dev_plugins=(f"a:{here}/a", f"wk.plugin.b:{here}/b:c"),
        install=(str(here / "x.vp"), str(here / "y.vp")),
        debug=True,
        allow_external=True,
        uvloop=False,
    )


def test_serve_without_options_has_the_defaults(served_settings: list[Settings]) -> None:
    assert vconnect("serve") == 4
    assert served_settings == [
        Settings(
            guardian="off",
            plugin_dir=str(Path.cwd() / "plugins"),
            socket_path=str(Path("~/vp/sockets/runtime.sock").expanduser()),
        )
    ]


def test_serve_reads_file_then_environment_then_options(
    served_settings: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "vconnect.toml").write_text(
        "[plugins]\nplugin_dir = 'of-file'\nlog_level = 'warn'\ndebug = true\nwindow = 8\n"
    )
    monkeypatch.setenv("VCONNECT_LOG_LEVEL", "error")
    monkeypatch.setenv("VCONNECT_WINDOW", "16")
    monkeypatch.setenv("VCONNECT_ADMIN", "of-env.sock")
    assert vconnect("serve", "--log-level", "info") == 4
    (settings,) = served_settings
    assert settings.plugin_dir == str(tmp_path / "of-file")
    assert settings.debug is True
    assert (settings.log_level, settings.window) == ("info", 16)
    assert settings.admin_socket == str(Path.cwd() / "of-env.sock")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--dev", "nocolon"), "expected NAME:PATH"),
        (("--dev", "../x:./x"), "a name is 1 to 64"),
        (("--config", "missing.toml"), "missing.toml: cannot be read"),
        (("--config", "\udcff.toml"), r"\udcff.toml: cannot be read"),
    ],
)
def test_serve_refuses_wrong_settings_before_it_starts(
    arguments: tuple[str, ...], words: str, served_settings: list[Settings], capsys: Printed
) -> None:
    assert vconnect("serve", *arguments) == 2
    err = capsys.readouterr().err
    assert words in err
    assert err.count("\n") == 1
    assert served_settings == []
    assert vconnect("serve", *arguments, "--json") == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] in ("config_error", "usage")
