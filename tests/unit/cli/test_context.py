"""Where a command finds its host, and its settings."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.context import State, find_admin_socket, settings_for, source_for
from vconnect.cli.root import root
from vconnect.errors import ConfigError

pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


@pytest.mark.parametrize("command", [("list",), ("status",), ("emit", "e", "{}"), ("stop", "x")])
def test_no_host_exits_with_3(command: tuple[str, ...], tmp_path: Path, capsys: Printed) -> None:
    path = str(tmp_path / "admin.sock")
    assert vconnect(*command, "--admin", path) == 5
    err = capsys.readouterr().err
    assert err.startswith(f"error: no vconnect host answers at {path} (")
    assert err.endswith("; start one with: vconnect serve\n")
    assert vconnect(*command, "--admin", path, "--json") == 5
    assert json.loads(capsys.readouterr().out)["error"]["code"] == "host_unreachable"


def test_the_socket_may_stand_before_the_command_or_in_the_environment(
    admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vconnect("--admin", admin, "list") == 0
    monkeypatch.setenv("VCONNECT_ADMIN", admin)
    assert vconnect("list") == 0
    assert vconnect("list", "--admin", "/nowhere.sock") == 5
    assert vconnect("--admin", "/nowhere.sock", "list") == 5


def test_a_directory_means_the_one_host_in_it(admin: str, tmp_path: Path, capsys: Printed) -> None:
    place = Path(admin).parent
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(place / "gone.sock"))
    assert vconnect("list", "--admin", str(place)) == 0
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place / "other.sock"))
        other.listen()
        assert vconnect("list", "--admin", str(place)) == 2
        assert "2 hosts have a socket there" in capsys.readouterr().err
        (place / "other.sock").unlink()
    assert vconnect("list", "--admin", str(tmp_path)) == 5
    assert "in " + str(tmp_path) in capsys.readouterr().err


def test_the_socket_is_found_by_the_configuration(admin: str, tmp_path: Path) -> None:
    beside = Path(admin).with_name("runtime.sock")
    (tmp_path / "vconnect.toml").write_text(f"[plugins]\nsocket_path = '{beside}'\n")
    assert vconnect("list") == 0
    (tmp_path / "vconnect.toml").write_text("[plugins]\nadmin_path = 'none.sock'\n")
    assert vconnect("list") == 5
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
    assert vconnect("list") == 5
    assert f"at {tmp_path}/vp/sockets/admin.sock (" in capsys.readouterr().err


def test_the_nearest_option_wins(tmp_path: Path) -> None:
    Path("vconnect.toml").write_text("[plugins]\nadmin_path = 'of-file.sock'\n")
    before = State(admin="before.sock")
    assert find_admin_socket(before, "own.sock", None) == tmp_path / "own.sock"
    assert find_admin_socket(before, None, None) == tmp_path / "before.sock"
    assert find_admin_socket(State(), None, None) == tmp_path / "of-file.sock"


def test_an_option_is_expanded_and_made_absolute(tmp_path: Path) -> None:
    assert find_admin_socket(State(), "~/x/../a.sock", None) == tmp_path / "a.sock"


def test_the_file_here_is_read_only_if_none_is_named(tmp_path: Path) -> None:
    Path("vconnect.toml").write_text("[plugins]\nwindow = 7\n")
    Path("other.toml").write_text("[plugins]\ndebug = true\n")
    assert settings_for(None).window == 7
    assert settings_for(Path("other.toml")).window == 64
    assert settings_for(Path("other.toml")).debug


def test_overrides_come_last() -> None:
    Path("vconnect.toml").write_text("[plugins]\nwindow = 7\n")
    assert source_for(None, {"window": 9, "debug": None}).load().window == 9


def test_a_file_that_is_named_must_be_there() -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        settings_for(Path("none.toml"))


def test_a_mistyped_variable_is_told_beside_the_answer(
    admin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Printed
) -> None:
    (tmp_path / "vconnect.toml").write_text(f"[plugins]\nadmin_path = '{admin}'\n")
    monkeypatch.setenv("VCONNECT_ADMIN_PTH", "/nowhere.sock")
    assert vconnect("list", "--json") == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)
    assert printed.err == (
        "warning: VCONNECT_ADMIN_PTH is ignored: unknown variable; "
        "did you mean VCONNECT_ADMIN_PATH?\n"
    )
