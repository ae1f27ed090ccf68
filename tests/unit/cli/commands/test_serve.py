"""``vconnect serve``: what it hands to the host, which is not started here."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.host import guardian
from vconnect.host.hang_up import EarlyHangUp
from vconnect.plugins import state_file
from vconnect.settings.model import Settings

pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


@pytest.fixture
def served_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Settings]]:
    """What `vconnect serve` hands to the runtime, which is not started here, nor guarded."""
    taken: list[Settings] = []
    runtime = ModuleType("vconnect.host.serve")

    def serve(
        settings: Settings,
        lifeline: object,
        progress: object,
        source: Any,
        early: EarlyHangUp,
        log_format: str,
    ) -> int:
        taken.append(settings)
        assert signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL
        assert not early.is_heard
        assert source.load() == settings
        assert lifeline is None
        assert progress is None  # stderr is no terminal
        return 4

    monkeypatch.setenv("VCONNECT_GUARDIAN", "off")

    runtime.serve = serve  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vconnect.host.serve", runtime)
    monkeypatch.setattr("vconnect.host.serve", runtime, raising=False)
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield taken
    signal.signal(signal.SIGHUP, before)


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
        (("--dev", "../x:./x"), "expected 1 to 64"),
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


def test_an_option_before_the_command_is_the_hosts_too(served_settings: list[Settings]) -> None:
    assert vconnect("--admin", "before.sock", "serve") == 4
    assert vconnect("--admin", "before.sock", "serve", "--admin", "own.sock") == 4
    sockets = [Path(settings.admin_socket).name for settings in served_settings]
    assert sockets == ["before.sock", "own.sock"]


def test_lists_of_options_replace_those_of_the_file(
    served_settings: list[Settings], tmp_path: Path
) -> None:
    (tmp_path / "vconnect.toml").write_text(
        "[plugins]\ndev_plugins = ['a:a']\ninstall = ['a.vp']\ndebug = true\nuvloop = false\n"
    )
    assert vconnect("serve", "--dev", "b:b") == 4
    assert vconnect("serve", "--install", "b.vp", "--uvloop") == 4
    first, second = served_settings
    assert (first.dev_plugins, first.install) == ((f"b:{tmp_path}/b",), (f"{tmp_path}/a.vp",))
    assert (second.dev_plugins, second.install) == ((f"a:{tmp_path}/a",), (f"{tmp_path}/b.vp",))
    assert (first.uvloop, second.uvloop) == (False, True)
    assert first.debug


def test_the_guardian_is_asked_for_by_the_options(
    served_settings: list[Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(guardian, "is_wanted", lambda mode, *_: bool(asked.append(mode)))
    for option in ("--guardian", "--no-guardian"):
        assert vconnect("serve", option) == 4
    assert asked == ["on", "off"]
    monkeypatch.delenv("VCONNECT_GUARDIAN")
    assert vconnect("serve") == 4
    assert asked[2:] == ["auto"]


def test_the_guardian_is_left_behind_before_the_host_begins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And at the end it ends the plugins that this very host has recorded."""
    host = ModuleType("vconnect.host.serve")
    taken: list[object] = []
    lifeline = object()

    def guarded(leftovers: Callable[[], None]) -> object:
        assert taken == []
        leftovers()
        return lifeline

    host.serve = lambda settings, line, *_: taken.append(line) or 0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vconnect.host.serve", host)
    monkeypatch.setattr("vconnect.host.serve", host, raising=False)
    monkeypatch.setattr(guardian, "is_wanted", lambda *_: True)
    monkeypatch.setattr(guardian, "guarded", guarded)
    ended: list[tuple[Path, Path]] = []
    monkeypatch.setattr(state_file, "kill_recorded", lambda *paths: ended.append(paths))
    assert vconnect("serve", "--plugin-dir", "p", "--socket", "s/r.sock") == 0
    assert taken == [lifeline]
    settings = Settings(plugin_dir=str(tmp_path / "p"), socket_path=str(tmp_path / "s/r.sock"))
    assert ended == [(settings.state_directory, tmp_path / "s/r.sock")]
