import logging

import pytest

from vconnect import Context, Plugin, on, run_plugin
from vconnect.names import HOST_PID_VARIABLE
from vconnect.sdk.main import _host_pid, _log_level, _parse_arguments


class Example(Plugin):
    plugin_no = "wk.plugin.example"

    @on("message")
    def message(self, ctx: Context) -> None: ...


def test_the_socket_by_default():
    assert _parse_arguments("example", []).socket == "./plugins/example.sock"


@pytest.mark.parametrize(
    ("arguments", "level"),
    [
        ([], logging.INFO),
        (["--debug"], logging.DEBUG),
        (["-d"], logging.DEBUG),
        (["--log-level", "warn"], logging.WARNING),
        (["--log-level", "ERROR"], logging.ERROR),
        (["--debug", "--log-level", "info"], logging.INFO),
        (["--log-level", "trace"], logging.DEBUG - 5),
    ],
)
def test_log_levels(arguments, level):
    assert _log_level(_parse_arguments("example", arguments)) == level


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--verbose"], "unrecognized arguments: --verbose"),
        (["--sock", "x"], "unrecognized arguments"),
        (["extra"], "unrecognized arguments: extra"),
        (["--socket"], "expected one argument"),
        (["--log-level", "loud"], "invalid choice: 'loud'"),
        (["--socket", "x" * 200], "the path has 200 bytes"),
    ],
)
def test_wrong_arguments_exit_2(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        _parse_arguments("example", arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_mistakes_of_the_author_come_before_the_arguments():
    class Nameless(Plugin):
        capabilities = ("message",)

    with pytest.raises(TypeError, match=r"Nameless\.plugin_no is ''"):
        run_plugin(Nameless, ["--help"])


@pytest.mark.parametrize(("text", "pid"), [("123", 123), ("0", None), ("-1", None), ("x", None)])
def test_the_hosts_pid(monkeypatch, caplog, text, pid):
    monkeypatch.setenv(HOST_PID_VARIABLE, text)
    assert _host_pid(logging.getLogger("example")) == pid
    assert ("expected a PID" in caplog.text) == (pid is None)


def test_no_host_started_it(monkeypatch):
    monkeypatch.delenv(HOST_PID_VARIABLE, raising=False)
    assert _host_pid(logging.getLogger("example")) is None
