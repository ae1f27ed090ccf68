"""What type checkers and editors say of programs that use the package."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vconnect

#: Each line that ends in `# wrong` must be an error, and no other line.
RIGHT = """
from collections.abc import Awaitable
from pathlib import Path

import vconnect
from vconnect import ConfigError, Context, Outcome, Plugin, PluginRuntimeManager, Settings, on

version: str = vconnect.__version__


async def main(saved: Settings) -> dict[str, object]:
    manager = PluginRuntimeManager(
        saved,
        plugin_dir=Path("plugins"),
        socket_path="r.sock",
        dev_plugins=["a:./a"],
        event_timeout=5,
        window=None,
        restart="never",
        config={"a": {"greeting": "hello"}},
        options={"a": {"required": True}},
        events={"message": {"on_failure": "closed"}},
        progress=lambda done, total: None,
    )
    async with manager as runtime:
        outcome: Outcome = await runtime.emit("e", {"x": 1}, timeout=1)
        await runtime.broadcast("e", [1, 2])
        sent: int = runtime.notify("e", None) + await runtime.notify_when_room("e", "x")
        return {"answer": await runtime.request("a", "e", {}), "sent": sent, "of": outcome.results}


class Greeter(Plugin):
    plugin_no = "wk.plugin.greeter"

    @on("message.incoming")
    def answer(self, ctx: Context) -> Awaitable[None] | None:
        ctx.reply({"content": "hello"})
        return None
"""
WRONG = """
import vconnect
from vconnect import PluginRuntimeManager
from vconnect import PluginRuntimeManagr  # wrong
from vconnect import PluginTimeoutError  # wrong

nonsense = vconnect.nonsense  # wrong
PluginRuntimeManager(plugindir="x")  # wrong
PluginRuntimeManager(event_timeout="five")  # wrong
PluginRuntimeManager(dev_plugins=7)  # wrong
PluginRuntimeManager(dev_plugins="a:./a")  # wrong
PluginRuntimeManager(restart="sometimes")  # wrong
PluginRuntimeManager(window=64)
"""

CALLS = ("emit", "broadcast", "request", "request_result", "notify", "notify_when_room")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    (tmp_path / "right.py").write_text(RIGHT)
    (tmp_path / "wrong.py").write_text(WRONG)
    return tmp_path


def expected() -> list[int]:
    lines = WRONG.splitlines()
    return [number for number, line in enumerate(lines, 1) if line.endswith("# wrong")]


def run(directory: Path, *command: str) -> str:
    arguments = [sys.executable, "-m", *command, "right.py", "wrong.py"]
    done = subprocess.run(arguments, cwd=directory, capture_output=True, text=True, timeout=240)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_mypy_sees_wrong_names_and_options(programs):
    said = run(programs, "mypy", "--strict", "--cache-dir", str(programs / "cache"))
    found = re.findall(r"^(\w+)\.py:(\d+): error", said, re.MULTILINE)
    assert found == [("wrong", str(line)) for line in expected()], said


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_pyright_sees_wrong_names_and_options(programs):
    # The mode of pyright itself: this build has stricter ones.
    (programs / "pyrightconfig.json").write_text('{"typeCheckingMode": "standard"}')
    python = ["--pythonpath", sys.executable, "--level", "error", "--outputjson"]
    said = json.loads(run(programs, "basedpyright", *python))
    found = [
        (Path(one["file"]).stem, one["range"]["start"]["line"] + 1)
        for one in said["generalDiagnostics"]
        if one["severity"] == "error"
    ]
    assert sorted(set(found)) == [("wrong", line) for line in expected()], said


@pytest.mark.parametrize("call", CALLS)
def test_a_call_has_its_whole_help_in_an_editor(call):
    function = getattr(vconnect.PluginRuntimeManager, call)
    text = inspect.getdoc(function) or ""
    assert all(heading in text for heading in ("Args:", "Returns:", "Raises:")), text
    arguments = list(inspect.signature(function).parameters)[1:]
    assert [name for name in arguments if f"    {name}: " not in text] == []
