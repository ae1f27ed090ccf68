"""The command line of a plugin, installed or from source."""

import json
import os
import sys
from pathlib import Path

import pytest

from vconnect.errors import PluginStartError
from vconnect.packages.command import dev_command, host_arguments, production_command
from vconnect.packages.manifest import Manifest


def make(path: Path, text: str = "", *, executable: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755 if executable else 0o644)
    return path


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A PATH that holds the named tools and nothing else."""

    def provide(*names: str) -> None:
        for name in names:
            make(tmp_path / "tools" / name, "#!/bin/sh\n", executable=True)
        monkeypatch.setenv("PATH", str(tmp_path / "tools"))

    return provide


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def refused(call, *args) -> str:
    with pytest.raises(PluginStartError) as caught:
        call(*args)
    assert caught.value.plugin == "p"
    return caught.value.message


# Production


@pytest.mark.parametrize("line", ["#!/usr/bin/env python3\r\nprint()\r\n", "#!/bin/sh\r\n"])
def test_a_first_line_as_on_windows(source: Path, line: str) -> None:
    own = source / "p"
    own.write_bytes(line.encode())
    own.chmod(0o755)
    assert "carriage return (CRLF)" in refused(production_command, "p", source, None)
    other = source / "other"
    own.rename(other)
    assert f"sed -i 's/\\r$//' {other}" in refused(production_command, "p", source, None)
    manifest = Manifest(name="p", entry="other")
    assert "CRLF" in refused(production_command, "p", source, manifest)
    (source / "plugin.json").write_text(json.dumps({"name": "p", "dev": {"command": ["./other"]}}))
    assert "CRLF" in refused(dev_command, "p", source)


def test_other_lines_may_end_as_they_like(source: Path) -> None:
    own = source / "p"
    own.write_bytes(b"#!/bin/sh\ntrue\r\n")
    own.chmod(0o755)
    assert production_command("p", source, None) == [str(own)]


def test_the_file_with_the_plugin_s_name_comes_first(source: Path) -> None:
    own = make(source / "p", executable=True)
    make(source / "other", executable=True)
    manifest = Manifest(name="p", entry="other")
    assert production_command("p", source, manifest) == [str(own)]


def test_then_the_manifest_s_entry(source: Path) -> None:
    make(source / "p")  # no x bit
    make(source / "a", executable=True)
    entry = make(source / "bin" / "b", executable=True)
    assert production_command("p", source, Manifest(name="p", entry="bin/b")) == [str(entry)]


def test_then_the_only_executable(source: Path) -> None:
    only = make(source / "run-me", executable=True)
    make(source / "._run-me", executable=True)
    make(source / "readme")
    make(source / "lib" / "tool", executable=True)
    (source / "link").symlink_to(only)
    assert production_command("p", source, None) == [str(only)]
    assert production_command("p", source, Manifest(name="p")) == [str(only)]


def test_a_relative_directory_gives_an_absolute_command(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(source / "p", executable=True)
    monkeypatch.chdir(source.parent)
    assert production_command("p", Path("source"), None) == [str(source / "p")]


def test_two_candidates(source: Path) -> None:
    make(source / "a", executable=True)
    make(source / "b", executable=True)
    assert "(a, b)" in refused(production_command, "p", source, None)


def test_nothing_to_execute(source: Path) -> None:
    assert str(source / "p") in refused(production_command, "p", source, None)
    own = make(source / "p")
    assert f"chmod +x {own}" in refused(production_command, "p", source, None)
    own.unlink()
    own.mkdir()
    assert "is a directory" in refused(production_command, "p", source, None)


def test_a_missing_or_wrong_directory(source: Path) -> None:
    assert "does not exist" in refused(production_command, "p", source / "x", None)
    assert "not a directory" in refused(production_command, "p", make(source / "f"), None)
    assert "does not exist" in refused(dev_command, "p", source / "x")
    assert "not a directory" in refused(dev_command, "p", source / "f")


def test_entry_that_cannot_be_executed(source: Path) -> None:
    manifest = Manifest(name="p", entry="e")
    assert "does not exist" in refused(production_command, "p", source, manifest)
    entry = make(source / "e")
    assert f"chmod +x {entry}" in refused(production_command, "p", source, manifest)
    entry.unlink()
    entry.mkdir()
    assert "is a directory" in refused(production_command, "p", source, manifest)
    entry.rmdir()
    os.mkfifo(entry)
    assert "not a regular file" in refused(production_command, "p", source, manifest)


def test_entry_that_leads_outside_through_a_link(source: Path) -> None:
    make(source.parent / "secret" / "tool", executable=True)
    (source / "bin").symlink_to(source.parent / "secret")
    manifest = Manifest(name="p", entry="bin/tool")
    assert "leads outside" in refused(production_command, "p", source, manifest)


def test_what_the_system_refuses_is_told_in_words(source: Path) -> None:
    (source / "loop").symlink_to("loop")
    manifest = Manifest(name="p", entry="loop/x")
    assert "loop" in refused(production_command, "p", source, manifest)
    assert "too long" in refused(production_command, "p", source / ("n" * 300), None)
    assert "too long" in refused(dev_command, "p", source / ("n" * 300))


# Source directories


def test_cargo(source: Path, tools) -> None:
    file = make(source / "Cargo.toml")
    make(source / "plugin.py")
    tools("cargo")
    assert dev_command("p", source) == ["cargo", "run", "--manifest-path", str(file), "--"]


def test_python(source: Path) -> None:
    pyproject = make(source / "pyproject.toml", '[project]\nname = "My-plugin.x"\n')
    assert dev_command("p", source) == [sys.executable, "-m", "My_plugin_x"]
    make(source / "src" / "My_plugin_x" / "__main__.py")
    command = dev_command("p", source)
    assert command[:2] == [sys.executable, "-c"]
    assert "'My_plugin_x'" in command[2]
    make(source / "plugin.py")
    assert dev_command("p", source) == [sys.executable, "plugin.py"]
    pyproject.unlink()
    assert dev_command("p", source) == [sys.executable, "plugin.py"]


def test_node(source: Path, tools) -> None:
    package = make(source / "package.json", json.dumps({"scripts": {"start": "node x"}}))
    make(source / "pyproject.toml", "[tool.ruff]\n")  # not a Python project
    tools("npm", "node")
    assert dev_command("p", source) == ["npm", "start", "--"]
    package.write_text(json.dumps({"main": "lib/main"}))
    assert str(source / "lib/main") in refused(dev_command, "p", source)
    make(source / "lib" / "main.js")
    assert dev_command("p", source) == ["node", "lib/main"]
    package.write_text("{}")
    make(source / "index.js")
    assert dev_command("p", source) == ["node", "index.js"]


def test_go(source: Path, tools) -> None:
    make(source / "go.mod")
    tools("go")
    assert dev_command("p", source) == ["go", "run", "."]


def test_the_manifest_s_command_comes_first(source: Path, tools) -> None:
    make(source / "Cargo.toml")
    tools("make")
    manifest = make(source / "plugin.json")
    manifest.write_text(json.dumps({"name": "p", "dev": {"command": ["make", "run"]}}))
    assert dev_command("p", source) == ["make", "run"]
    manifest.write_text(json.dumps({"name": "p", "dev": {"command": ["./run", "x"]}}))
    assert "does not exist" in refused(dev_command, "p", source)
    run = make(source / "run", executable=True)
    assert dev_command("p", source) == [str(run), "x"]


def test_a_manifest_without_a_command_changes_nothing(source: Path) -> None:
    make(source / "plugin.json", '{"name": "p"}')
    make(source / "plugin.py")
    assert dev_command("p", source) == [sys.executable, "plugin.py"]


def test_nothing_that_can_be_started(source: Path) -> None:
    message = refused(dev_command, "p", source)
    for name in ("Cargo.toml", "plugin.py", "pyproject.toml", "package.json", "go.mod"):
        assert name in message


@pytest.mark.parametrize(
    ("name", "text", "tool"),
    [
        ("Cargo.toml", "", "cargo"),
        ("package.json", '{"scripts": {"start": "x"}}', "npm"),
        ("package.json", '{"main": "package.json"}', "node"),
        ("go.mod", "", "go"),
        ("plugin.json", '{"name": "p", "dev": {"command": ["deno"]}}', "deno"),
    ],
)
def test_a_missing_tool(source: Path, tools, name: str, text: str, tool: str) -> None:
    make(source / name, text)
    tools()
    assert f"{tool} is not on the PATH" in refused(dev_command, "p", source)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plugin.json", "{"),
        ("plugin.json", '{"name": "p", "dev": {"command": "x"}}'),
        ("package.json", "[]"),
        ("pyproject.toml", "="),
    ],
)
def test_a_damaged_file(source: Path, name: str, text: str) -> None:
    make(source / name, text)
    assert str(source / name) in refused(dev_command, "p", source)


@pytest.mark.parametrize(
    ("debug", "level", "more"),
    [
        (False, None, []),
        (True, None, ["--debug"]),
        (False, "warn", ["--log-level", "warn"]),
        (True, "debug", ["--debug", "--log-level", "debug"]),
    ],
)
def test_host_arguments(debug: bool, level: str | None, more: list[str]) -> None:
    assert host_arguments("/run/s.sock", debug, level) == ["--socket", "/run/s.sock", *more]
