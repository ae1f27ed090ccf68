"""The directories of a start, and the settings that fill them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vconnect.errors import ConfigError, PluginStartError
from vconnect.processes.directories import PrivateDirectory
from vconnect.settings.load import load_settings


def load(directory: Path, text: str) -> Path:
    file = directory / "vconnect.toml"
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('secrets = { token = "/x" }', "secrets.'token': the name is 'token'; expected char"),
        ('secrets = { "../TOKEN" = "/x" }', "secrets.'../TOKEN': the name is '../TOKEN'; exp"),
        ("secrets = { TOKEN = 3 }", "secrets.'TOKEN': expected `str`, got `int`"),
        (
            'sandbox = "docker"',
            "sandbox: invalid enum value 'docker'; "
            "expected one of 'off', 'nnp', 'landlock', 'bwrap'",
        ),
        ("sandbox_netwrok = true", "did you mean 'sandbox_network'?"),
    ],
)
def test_a_mistake_is_told_with_its_key(tmp_path: Path, text: str, words: str) -> None:
    file = load(tmp_path, f"[plugins.options.example]\n{text}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert words in str(caught.value)
    assert "plugins.options.'example'." in str(caught.value)


def test_relative_paths_count_from_the_file(tmp_path: Path) -> None:
    text = """[plugins]
    sandbox_read = ["all"]
    [plugins.options.example]
    secrets = { A = "a", B = "/b", C = "~/c" }
    sandbox_read = ["own"]
    """
    limits = load_settings(load(tmp_path, text)).plugin_policy("example")
    assert limits.secrets == {
        "A": str(tmp_path / "a"),
        "B": "/b",
        "C": str(Path("~/c").expanduser()),
    }
    assert limits.sandbox_read == (str(tmp_path / "all"), str(tmp_path / "own"))


def test_the_plugins_own_sandbox_wins() -> None:
    options = {"own": {"sandbox": "off", "sandbox_network": False}}
    settings = load_settings(
        overrides={"sandbox": "nnp", "sandbox_network": True, "options": options}
    )
    assert settings.plugin_policy("any").sandbox == "nnp"
    assert settings.plugin_policy("any").sandbox_network
    assert settings.plugin_policy("own").sandbox == "off"
    assert not settings.plugin_policy("own").sandbox_network


def test_a_secret_may_hold_anything_but_too_much(tmp_path: Path) -> None:
    private = PrivateDirectory("example", tmp_path / "state")
    (tmp_path / "binary").write_bytes(b"\x00\xff\n")
    private.add_secrets("example", {"A": str(tmp_path / "binary")})
    copy = Path(private.environment["VCONNECT_SECRET_A_FILE"])
    assert copy.read_bytes() == b"\x00\xff\n"
    (tmp_path / "large").write_bytes(b"x" * (1024 * 1024 + 1))
    with pytest.raises(PluginStartError, match=r"secrets\.B: .*larger than 1048576 bytes"):
        private.add_secrets("example", {"B": str(tmp_path / "large")})
    private.remove()
    assert not copy.exists()
    assert private.data.is_dir()
    private.remove()  # nothing to remove is no trouble


def test_each_start_has_its_own(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first, second = (PrivateDirectory("a", state) for _ in range(2))
    assert first.data == second.data
    assert first.tmp != second.tmp
    first.remove()
    assert second.tmp.is_dir()


def test_what_a_plugin_links_to_is_not_removed(tmp_path: Path) -> None:
    private = PrivateDirectory("a", tmp_path / "state")
    (tmp_path / "precious").mkdir(mode=0o500)
    (private.tmp / "link").symlink_to(tmp_path / "precious")
    private.remove()
    assert (tmp_path / "precious").stat().st_mode & 0o777 == 0o500
