"""The examples and the project templates, spoken to over the wire."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support import toolchains
from tests.support.kit_host import Host, Processes, environment

from vconnect.cli.scaffold import create_project
from vconnect.packages.manifest import read_manifest

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = sorted(path.parent.name for path in EXAMPLES.glob("*/plugin.json"))

needs_cargo = toolchains.needs("cargo")
needs_cc = toolchains.needs("cc", "make")


@pytest.fixture
async def host():
    directory = tempfile.mkdtemp(prefix="vc-", dir="/tmp")  # short: see the limit of socket paths
    async with Host(Path(directory) / "host.sock") as listening:
        yield listening
    shutil.rmtree(directory)


@pytest.fixture
def processes(tmp_path):
    started = Processes(tmp_path)
    yield started
    started.end_all()


@pytest.fixture
def copy(tmp_path):
    """Copy an example, so that what is built stays out of the checkout."""

    def copy_example(name):
        ignored = shutil.ignore_patterns("target", "__pycache__", "bare-c.dSYM")
        return shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=ignored)

    return copy_example


async def start(processes, host, directory):
    """Start an installed package the way a host does, with its manifest's defaults."""
    manifest = read_manifest(directory / "plugin.json")
    program = processes.start(
        directory / manifest.entry, "--socket", host.path, "--debug", cwd=directory
    )
    peer, handshake = await host.welcome(manifest.config)
    assert handshake.get("plugin_no", handshake.get("name")) in (manifest.name, manifest.plugin)
    assert handshake["version"] == manifest.version
    assert handshake["priority"] == manifest.priority
    assert tuple(handshake["capabilities"])
    return program, peer, handshake


async def say(peer, content):
    return await peer.ask("message.incoming", {"content": content, "from_uid": "ada"})


async def ends_by_signal(program):
    program.signal(signal.SIGTERM)
    assert await program.exit_code() == 0


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_described(name):
    manifest = read_manifest(EXAMPLES / name / "plugin.json")
    assert manifest.plugin == name
    assert manifest.entry
    assert (EXAMPLES / name / "README.md").is_file()


async def test_word_filter(processes, host, copy):
    program, peer, handshake = await start(processes, host, copy("word-filter"))
    assert handshake["capabilities"] == ["message.incoming"]
    assert await say(peer, "hello") == {"status": "ok"}
    assert await say(peer, "get FREE Bitcoin now") == {
        "status": "ok",
        "data": {"blocked": True, "reason": "the message contains 'FREE Bitcoin'"},
        "flow": "stop",
    }
    assert await say(peer, "What the Heck, darn it") == {
        "status": "ok",
        "payload": {"content": "What the h***, d*** it", "from_uid": "ada"},
    }
    assert await say(peer, "hecklers welcome") == {"status": "ok"}
    assert await say(peer, {"url": "a picture"}) == {"status": "ok"}
    await ends_by_signal(program)


async def test_word_filter_with_other_words(processes, host, copy):
    directory = copy("word-filter")
    processes.start(directory / "plugin.py", "--socket", host.path, cwd=directory)
    peer, _ = await host.welcome({"blocked": []})
    assert await say(peer, "free bitcoin") == {"status": "ok"}
    await peer.close()
    peer, _ = await host.welcome({"blocked": ["hello"]})
    assert (await say(peer, "hello"))["flow"] == "stop"


async def test_auto_reply(processes, host, copy):
    program, peer, _ = await start(processes, host, copy("auto-reply"))
    assert await say(peer, "Hello there") == {
        "status": "ok",
        "data": {"type": 1, "content": "Hello! How can I help?"},
    }
    assert await say(peer, "something else") == {"status": "ok"}
    assert await peer.ask("user.online", {"uid": "ada"}) == {"status": "ok"}
    await program.wrote("user.online: ada")
    await ends_by_signal(program)


async def test_auto_reply_refuses_a_wrong_table(processes, host, copy):
    directory = copy("auto-reply")
    program = processes.start(directory / "plugin.py", "--socket", host.path, cwd=directory)
    await host.welcome({"delay_seconds": 6})
    assert await program.exit_code() == 78
    assert "$.delay_seconds" in program.stderr.splitlines()[-1]


def build(*command, cwd):
    result = subprocess.run(
        command, cwd=cwd, env={**os.environ}, capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stderr


@needs_cc
async def test_bare_c(processes, host, copy):
    directory = copy("bare-c")
    build("make", "CFLAGS=-Wall -Wextra -Werror", cwd=directory)
    program, peer, _ = await start(processes, host, directory)
    await peer.write(*({"event": "message.incoming", "payload": n} for n in range(5)))
    assert [await peer.read() for _ in range(5)] == [{"status": "ok"}] * 5
    assert await say(peer, "x" * 100_000) == {"status": "ok"}
    await peer.close()
    assert await program.exit_code() == 0


async def rust_speaks(program, host):
    peer, handshake = await host.welcome()
    contents = ["hello", 'a "quote" \\ \n\t\u0000', "straße 😀", "", "x" * 100_000]
    await peer.write(
        *({"event": "message.incoming", "payload": {"content": text}} for text in contents),
        {"event": "user.online", "payload": None},
    )
    for text in contents:
        data = {"length": len(text), "content": text.upper()}
        assert await peer.read() == {"status": "ok", "data": data}
    assert await peer.read() == {"status": "ok"}
    await peer.write_bytes(b"\x00\x00\x00\x01{")
    assert (await peer.read())["status"] == "error"
    assert (await say(peer, "on"))["data"]["content"] == "ON"
    await peer.close()
    assert await program.exit_code() == 0
    return handshake


@needs_cargo
async def test_dev_rust(processes, host, copy):
    manifest = copy("dev-rust") / "Cargo.toml"
    build("cargo", "build", "--locked", "--offline", cwd=manifest.parent)
    program = processes.start(
        *("cargo", "run", "--manifest-path", manifest, "--"), "--socket", host.path, "--debug"
    )
    handshake = await rust_speaks(program, host)
    assert handshake == {
        "capabilities": ["message"],
        "name": "dev-rust",
        "priority": 1,
        "version": "0.1.0",
    }
    assert "message.incoming" in program.stderr


@needs_cargo
async def test_dev_rust_refuses_unknown_arguments(processes, copy):
    directory = copy("dev-rust")
    build("cargo", "build", "--locked", "--offline", cwd=directory)
    program = processes.start(directory / "target/debug/dev-rust", "--verbose")
    assert await program.exit_code() == 2
    assert 'unknown argument "--verbose"' in program.stderr


@needs_cargo
async def test_the_rust_template(processes, host, tmp_path):
    directory = tmp_path / "project"
    create_project("1st.try", directory, "rust")
    build("cargo", "test", "--locked", "--offline", cwd=directory)
    program = processes.start(
        *("cargo", "run", "--manifest-path", directory / "Cargo.toml", "--"),
        *("--socket", host.path, "--log-level", "debug"),
    )
    handshake = await rust_speaks(program, host)
    assert handshake["plugin_no"] == "wk.plugin.1st.try"
    assert handshake["type"] == "handshake"


async def test_the_python_template(processes, host, tmp_path):
    directory = tmp_path / "project"
    create_project("auto-greet", directory, "python")
    program, peer, _ = await start(processes, host, directory)
    assert await say(peer, "hi") == {"status": "ok", "data": {"type": 1, "content": "hello, ada"}}
    await ends_by_signal(program)


def test_the_python_templates_own_tests(tmp_path):
    create_project("auto-greet", tmp_path / "project", "python")
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path / "project",
        env=environment({"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}),
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stdout
    assert "2 passed" in result.stdout
