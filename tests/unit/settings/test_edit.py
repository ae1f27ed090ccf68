"""Single values of a file change, and everything else stays as it was written."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vconnect.errors import ConfigError, ConflictError
from vconnect.settings.edit import edit_config, edit_text

TEXT = """# a host
[plugins]
plugin_dir = "./p"   # here

# of one
[plugins.config.one]
rate = 5       # per second
name = 'x'
"""


def edited(text: str, *edits: Any) -> str:
    return edit_text(text, [(tuple(key.split(".")), value) for key, value in edits], "the file")


def test_comments_and_order_stay() -> None:
    changed = edited(TEXT, ("plugins.config.one.rate", 6))
    assert changed == TEXT.replace("rate = 5 ", "rate = 6 ")


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        (TEXT, "plugins.config.one.new", [1, "two", {"three": 3.5}]),
        (TEXT, "plugins.config.one.deep.er.still", True),
        (TEXT, "plugins.config.two.rate", 5),
        (TEXT, "plugins.config.one.rate", "text now"),
        ("", "plugins.config.one.rate", 5),
        ("[events.e]\ntimeout = 1\n", "plugins.config.one.rate", 5),
        ("[plugins.config]\none = { rate = 1 } # inline\n", "plugins.config.one.rate", 5),
        ("plugins.config.one.rate = 1\n[events]\n", "plugins.config.one.burst", 5),
        ('[plugins.config."a.b"]\nx = 1\n[plugins.config.one]\n', "plugins.config.one.x", 2),
        ("[plugins.options.one]\nwindow=1\n[plugins]\nwindow=2\n", "plugins.config.one.x", 2),
    ],
)
def test_the_result_is_what_was_meant_and_nothing_else(text: str, key: str, value: Any) -> None:
    changed = tomllib.loads(edited(text, (key, value)))
    intended = tomllib.loads(text)
    table = intended
    *above, last = key.split(".")
    for part in above:
        table = table.setdefault(part, {})
    table[last] = value
    assert changed == intended


@pytest.mark.parametrize(
    ("value", "is_kept"),
    [
        ("[\n  1, # first\n  2,\n]", True),
        ("[ # all\n]", True),
        ("""['#', "# \\" #", \'\'\'#\'\'\']""", False),
        ("[\n  1,\n  2,\n] # after", False),
    ],
)
def test_comments_inside_of_a_value_are_not_lost(value: str, is_kept: bool) -> None:
    text = f"[plugins.config.one]\nlist = {value}\n"
    edit = ("plugins.config.one.list", [3])
    if is_kept:
        with pytest.raises(ConfigError, match="change it by hand"):
            edited(text, edit)
        assert edited(text, ("plugins.config.one.other", 1)).startswith(text)
    else:
        assert "list = [3]" in edited(text, edit)


def test_a_file_that_others_can_change_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(TEXT)
    file.chmod(0o666)
    with pytest.raises(ConfigError, match=r"can be changed by everybody .* nothing is written"):
        edit_config(file, "one", ["one"], [(("rate",), 6)])
    edit_config(file, "one", ["one"], [(("rate",), 6)], insecure_paths=True).write()
    assert "rate = 6" in file.read_text()


def test_a_value_is_removed() -> None:
    changed = edited(TEXT, ("plugins.config.one.rate", msgspec.UNSET))
    assert tomllib.loads(changed)["plugins"]["config"]["one"] == {"name": "x"}
    assert edited(TEXT, ("plugins.config.none.rate", msgspec.UNSET)) == TEXT


def test_what_cannot_be_changed_without_harm_is_left_and_the_lines_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tomlkit

    monkeypatch.setattr(tomlkit, "dumps", lambda _: TEXT)  # an edit that has no effect
    with pytest.raises(ConfigError) as caught:
        edited(TEXT, ("plugins.config.one.rate", 6), ("plugins.config.one.name", msgspec.UNSET))
    assert str(caught.value) == (
        "the file: cannot be changed without harm to the rest of it; change it by hand: in "
        "[plugins.config.one], write rate = 6; in [plugins.config.one], remove name"
    )


def write(file: Path, data: bytes, edits: Any = ((("rate",), 6),)) -> bytes:
    file.write_bytes(data)
    edit_config(file, "one", ["one"], edits).write()
    return file.read_bytes()


def test_the_files_mark_line_ends_and_mode_stay(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.touch()
    file.chmod(0o640)
    data = b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode()
    changed = write(file, data, [(("rate",), 6), (("new", "er"), 7)])
    assert changed.startswith(b"\xef\xbb\xbf# a host\r\n")
    assert changed.count(b"\n") == changed.count(b"\r\n") > data.count(b"\n")
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_table_keeps_the_name_that_it_has(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text('[plugins.config."wk.plugin.one"]\nrate = 5\n')
    edit_config(file, "one", ["one", "uno"], [(("rate",), 6)]).write()
    assert file.read_text() == '[plugins.config."wk.plugin.one"]\nrate = 6\n'


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "real.toml", tmp_path / "c.toml"
    target.write_text(TEXT)
    link.symlink_to(target)
    edit_config(link, "one", ["one"], [(("rate",), 6)]).write()
    assert link.is_symlink()
    assert "rate = 6" in target.read_text()


def test_a_file_that_was_changed_meanwhile_is_left(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(TEXT)
    edit = edit_config(file, "one", ["one"], [(("rate",), 6)])
    file.write_text(TEXT + "# more\n")
    with pytest.raises(ConflictError, match="was changed meanwhile"):
        edit.write()
    assert file.read_text() == TEXT + "# more\n"


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(TEXT)
    edit = edit_config(file, "one", ["one"], [(("rate",), 6)])
    (tmp_path / "c.toml.new").mkdir()
    with pytest.raises(ConfigError, match="cannot be written"):
        edit.write()
    assert file.read_text() == TEXT


@pytest.mark.parametrize("data", [b"[plugins", b"\xff\xfe", b"a = 1\x00"])
def test_what_is_no_toml_is_refused(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "c.toml"
    with pytest.raises(ConfigError, match="cannot be read"):
        write(file, data)
    assert file.read_bytes() == data


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        edit_config(tmp_path / "none.toml", "one", ["one"], [])
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="cannot be read"):
        edit_config(tmp_path / "pipe", "one", ["one"], [])
