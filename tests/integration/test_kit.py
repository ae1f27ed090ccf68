"""The kit as real processes, against a host written by hand."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.support.kit_host import PLUGINS, Host, Processes, frame, until

from vconnect import Context, Plugin, PluginClient, on
from vconnect.sdk import client as client_module


@pytest.fixture
def socket_path():
    directory = tempfile.mkdtemp(prefix="vc-", dir="/tmp")  # short: see the limit of socket paths
    yield Path(directory) / "host.sock"
    shutil.rmtree(directory)


@pytest.fixture
def processes(tmp_path):
    started = Processes(tmp_path)
    yield started
    started.end_all()


@pytest.fixture
async def host(socket_path):
    async with Host(socket_path) as listening:
        yield listening


@pytest.fixture
async def general(processes, host):
    """A running plugin: its process, its connection and its handshake."""
    program = processes.plugin("kit_general", "--socket", host.path)
    peer, handshake = await host.welcome({"a": 1})
    return program, peer, handshake


async def test_the_handshake_as_documented(general):
    _, _, handshake = general
    assert list(handshake) == [
        "type",
        "plugin_no",
        "version",
        "priority",
        "capabilities",
        "protocol_versions",
        "concurrency",
        "ready",
    ]
    assert handshake["ready"] is False
    assert handshake["type"] == "handshake"
    assert handshake["plugin_no"] == "wk.plugin.general"
    assert handshake["version"] == "1.2.3"
    assert handshake["priority"] == 7
    assert {"echo", "slow", "chain.stop"} < set(handshake["capabilities"])


async def test_each_kind_of_answer(general):
    _, peer, _ = general
    payload = {"content": "hé \u0000 😀", "n": [1, 2.5, None]}
    assert await peer.ask("echo", payload) == {"status": "ok", "data": payload}
    assert await peer.ask("silent") == {"status": "ok"}
    assert await peer.ask("not.handled") == {"status": "ok"}
    assert await peer.ask("refuse") == {"status": "error", "message": "not today"}
    assert await peer.ask("chain.stop") == {"status": "ok", "data": "enough", "flow": "stop"}
    assert await peer.ask("chain.replace") == {"status": "ok", "payload": {"content": "new"}}
    assert await peer.ask("config") == {"status": "ok", "data": {"a": 1}}


@pytest.mark.parametrize("key", ["event", "event_type"])
async def test_either_key_names_the_event(general, key):
    _, peer, _ = general
    await peer.write({key: "echo", "payload": 1})
    assert await peer.read() == {"status": "ok", "data": 1}


async def test_five_frames_at_once_are_answered_in_order(general):
    _, peer, _ = general
    names = ["echo", "slow", "echo", "fail", "echo"]
    await peer.write(*({"event": name, "payload": 0.1 + n} for n, name in enumerate(names)))
    answers = [await peer.read() for _ in names]
    assert [answer.get("data", answer["status"]) for answer in answers] == [
        0.1,
        "slow",
        2.1,
        "error",
        4.1,
    ]


async def test_a_thousand_frames_at_once(general):
    _, peer, _ = general
    await peer.write(*({"event": "echo", "payload": n} for n in range(1000)))
    assert [(await peer.read())["data"] for _ in range(1000)] == list(range(1000))


async def test_a_frame_byte_by_byte(general):
    _, peer, _ = general
    for byte in frame({"event": "echo", "payload": "slowly"}):
        await peer.write_bytes(bytes([byte]))
        await asyncio.sleep(0)
    assert await peer.read() == {"status": "ok", "data": "slowly"}


async def test_a_large_payload(general):
    _, peer, _ = general
    payload = "x" * 3_000_000
    assert await peer.ask("echo", payload) == {"status": "ok", "data": payload}


async def test_a_handler_that_raises_answers_and_stays(general):
    program, peer, _ = general
    answer = await peer.ask("fail")
    assert answer == {"status": "error", "message": "ValueError: asked to fail"}
    assert "Traceback" in program.stderr
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}


async def test_an_answer_that_is_no_json(general):
    _, peer, _ = general
    answer = await peer.ask("unsendable")
    assert answer["status"] == "error"
    assert "JSON" in answer["message"]
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}


async def test_print_reaches_the_host_at_once(general):
    program, _, _ = general
    await program.wrote("started with {'a': 1}")


async def test_it_reconnects_and_keeps_its_state(general, host):
    program, peer, _ = general
    assert (await peer.ask("count"))["data"] == 1
    await peer.close()
    peer, handshake = await host.welcome({"a": 1})
    assert handshake["plugin_no"] == "wk.plugin.general"
    assert (await peer.ask("count"))["data"] == 2
    assert program.stdout.count("started") == 1
    assert "update" not in program.stdout
    assert "connection lost: the host closed it" in program.stderr


async def test_a_connection_lost_with_a_handler_under_way(general, host):
    program, peer, _ = general
    await peer.write({"event": "slow", "payload": 60}, {"event": "echo", "payload": 1})
    await program.wrote("slow begins")
    await peer.close()
    peer, _ = await host.welcome({"a": 1})
    assert await peer.ask("echo", 2) == {"status": "ok", "data": 2}


async def test_a_changed_configuration(general, host):
    program, peer, _ = general
    await peer.close()
    peer, _ = await host.welcome({"a": 2})
    assert (await peer.ask("config"))["data"] == {"a": 2}
    await program.wrote("update from {'a': 1} to {'a': 2}")
    await peer.close()
    peer, _ = await host.welcome({"refused": True})
    assert (await peer.ask("config"))["data"] == {"a": 2}
    await program.wrote("keeping the old configuration")


async def test_a_host_that_breaks_the_framing_is_left_and_tried_again(general, host):
    program, peer, _ = general
    await peer.write_bytes(b"\xff\xff\xff\xff")
    assert await peer.read() is None
    peer, _ = await host.welcome({"a": 1})
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}
    assert "connection lost: " in program.stderr


async def test_a_host_that_is_not_there_yet(processes, socket_path):
    program = processes.plugin("kit_general", "--socket", socket_path)
    await program.wrote(f"cannot connect to {socket_path}: No such file or directory")
    async with Host(socket_path) as host:
        peer, _ = await host.welcome()
        assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}
    assert program.stderr.count("No such file") == 1


async def test_a_refusal_is_logged_in_the_hosts_words_and_tried_again(processes, host):
    program = processes.plugin("kit_general", "--socket", host.path)
    for _ in range(2):
        peer = await host.accept()
        await peer.read()
        await peer.write({"status": "error", "code": "name_taken", "message": "it runs already"})
        await peer.close()
    peer, _ = await host.welcome()
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}
    assert program.stderr.count("refused by the host: it runs already (name_taken)") == 1


async def test_a_refusal_without_a_word(processes, host):
    program = processes.plugin("kit_general", "--socket", host.path)
    peer = await host.accept()
    await peer.read()
    await peer.close()
    await program.wrote("no answer to the handshake (the host closed the connection)")
    await host.welcome()


@pytest.fixture
def living_host_process():
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE
    )
    yield process
    process.kill()
    process.wait()
    process.stdin.close()


async def test_it_ends_when_its_host_is_gone(processes, host, living_host_process):
    pid = str(living_host_process.pid)
    program = processes.plugin("kit_general", "--socket", host.path, VCONNECT_HOST_PID=pid)
    peer, _ = await host.welcome()
    living_host_process.kill()
    living_host_process.wait()
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}  # connected, it stays
    await peer.close()
    assert await program.exit_code(5) == 0
    assert "the host is gone" in program.stderr
    assert "stopped" in program.stdout


async def test_it_ends_when_its_host_goes_while_it_tries(
    processes, socket_path, living_host_process
):
    pid = str(living_host_process.pid)
    program = processes.plugin("kit_general", "--socket", socket_path, VCONNECT_HOST_PID=pid)
    await program.wrote("cannot connect")
    living_host_process.kill()
    living_host_process.wait()
    assert await program.exit_code(5) == 0
    assert "stopped" not in program.stdout  # it never started


async def test_it_stays_while_its_host_lives(processes, host, living_host_process):
    pid = str(living_host_process.pid)
    processes.plugin("kit_general", "--socket", host.path, VCONNECT_HOST_PID=pid)
    peer, _ = await host.welcome()
    await peer.close()
    peer, _ = await host.welcome()
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}


ORPHANING_PARENT = """
import subprocess, sys
subprocess.Popen(sys.argv[1:])
sys.stdout.flush()
import time
time.sleep(60)
"""


async def test_it_ends_when_its_parent_has_changed(processes, host):
    command = [sys.executable, PLUGINS / "kit_general.py", "--socket", host.path]
    parent = processes.start(
        sys.executable, "-c", ORPHANING_PARENT, *command, VCONNECT_HOST_PID=str(os.getpid())
    )
    peer, _ = await host.welcome()
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}
    parent.signal(signal.SIGKILL)
    await parent.exit_code()
    await peer.close()
    await parent.wrote("the host is gone")
    await parent.wrote("stopped")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order(general, number):
    program, peer, _ = general
    await peer.write({"event": "slow", "payload": 0.3}, {"event": "echo", "payload": 1})
    await program.wrote("slow begins")
    program.signal(number)
    assert await peer.read() == {"status": "ok", "data": "slow"}
    assert await peer.read() == {"status": "ok", "data": 1}
    assert await peer.read() is None
    assert await program.exit_code(5) == 0
    assert program.stdout.splitlines()[-1] == "stopped"
    assert f"stopping: {number.name}" in program.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_tries(processes, socket_path, number):
    program = processes.plugin("kit_general", "--socket", socket_path)
    await program.wrote("cannot connect")
    program.signal(number)
    assert await program.exit_code(5) == 0


async def test_a_signal_during_the_handshake(processes, host):
    program = processes.plugin("kit_general", "--socket", host.path)
    peer = await host.accept()
    await peer.read()
    program.signal(signal.SIGTERM)
    assert await program.exit_code(5) == 0


async def test_a_second_signal_does_not_wait(general):
    program, peer, _ = general
    await peer.write({"event": "slow", "payload": 60})
    await program.wrote("slow begins")
    program.signal(signal.SIGTERM)
    await program.wrote("stopping: SIGTERM")
    program.signal(signal.SIGTERM)
    assert await program.exit_code(2) == -signal.SIGTERM


async def test_the_other_signal_is_the_hosts_next_step_and_ends_nothing_early(general):
    program, peer, _ = general
    await peer.write({"event": "slow", "payload": 0.5})
    await program.wrote("slow begins")
    for number in (signal.SIGINT, signal.SIGTERM):
        program.signal(number)
        await program.wrote(f"stopping: {number.name}")
    assert await peer.read() == {"status": "ok", "data": "slow"}
    assert await program.exit_code(5) == 0
    assert program.stdout.splitlines()[-1] == "stopped"


@pytest.mark.slow
async def test_a_handler_that_does_not_end_is_given_three_seconds(general):
    program, peer, _ = general
    await peer.write({"event": "slow", "payload": 60})
    await program.wrote("slow begins")
    program.signal(signal.SIGTERM)
    assert await peer.read() is None
    assert await program.exit_code(6) == 0
    assert program.stdout.splitlines()[-1] == "stopped"


async def test_a_configuration_that_came_live_is_what_a_new_connection_is_compared_with(
    processes, host
):
    program = processes.plugin("kit_general", "--socket", host.path)
    peer, _ = await host.welcome({"a": 1}, protocol_version=1)
    assert await peer.read() == {"call": "plugin.ready", "params": {}}
    await peer.write({"id": 1, "event": "vconnect.config.update", "payload": {"config": {"a": 2}}})
    assert await peer.read() == {"id": 1, "status": "ok"}
    await peer.close()
    peer, _ = await host.welcome({"a": 2}, protocol_version=1)
    await peer.close()
    peer, _ = await host.welcome({"a": 1}, protocol_version=1)
    await peer.write({"id": 1, "event": "config", "payload": None})
    assert await peer.read() == {"id": 1, "status": "ok", "data": {"a": 1}}
    updates = [line for line in program.stdout.splitlines() if line.startswith("update")]
    assert updates == ["update from {'a': 1} to {'a': 2}", "update from {'a': 2} to {'a': 1}"]


async def test_a_typed_configuration(processes, host):
    processes.plugin("kit_typed", "--socket", host.path)
    peer, _ = await host.welcome({"name": "Bob"})
    assert await peer.ask("message.incoming") == {"status": "ok", "data": "I am Bob"}


async def test_a_wrong_configuration_ends_it_with_a_line_that_says_so(processes, host):
    program = processes.plugin("kit_typed", "--socket", host.path)
    peer, _ = await host.welcome({"name": 7})
    assert await peer.read() is None
    assert await program.exit_code() == 78
    last = program.stderr.splitlines()[-1]
    assert "invalid configuration: $.name: expected `str`, got `int`" in last
    assert "[plugins.config.typed]" in last


@pytest.mark.parametrize(
    ("where", "code", "line"),
    [
        ("start", 1, "RuntimeError: no database"),
        ("config", 78, "the key has expired"),
        ("stop", 1, "RuntimeError: could not save"),
    ],
)
async def test_failures_of_the_author(processes, host, where, code, line):
    program = processes.plugin("kit_fails", "--socket", host.path, VCONNECT_TEST_FAIL=where)
    await host.welcome()
    if where == "stop":
        await program.wrote("connected to")
        program.signal(signal.SIGTERM)
    assert await program.exit_code() == code
    assert line in program.stderr.splitlines()[-1]


async def test_a_mistake_in_the_class(processes, socket_path):
    program = processes.plugin("kit_fails", "--socket", socket_path, VCONNECT_TEST_FAIL="class")
    assert await program.exit_code() == 1
    assert "Fails.plugin_no is ''" in program.stderr.splitlines()[-1]


async def test_unknown_flags_exit_2(processes, socket_path):
    program = processes.plugin("kit_general", "--socket", socket_path, "--verbose")
    assert await program.exit_code() == 2
    assert "unrecognized arguments: --verbose" in program.stderr


@pytest.mark.parametrize("flags", [["--debug"], ["-d"], ["--log-level", "debug"]])
async def test_debug_shows_events(processes, host, flags):
    program = processes.plugin("kit_general", "--socket", host.path, *flags)
    peer, _ = await host.welcome()
    await peer.ask("echo", 1)
    await program.wrote("DEBUG general: event echo")


async def test_the_log_level(processes, host):
    program = processes.plugin("kit_general", "--socket", host.path, "--log-level", "error")
    peer, _ = await host.welcome()
    await peer.ask("fail")
    await program.wrote("ERROR general: the handler of fail failed")
    assert "INFO" not in program.stderr


async def test_without_a_socket_it_uses_its_own_directory(processes, socket_path):
    directory = socket_path.parent
    (directory / "plugins").mkdir()
    async with Host(directory / "plugins/general.sock") as host:
        processes.plugin("kit_general", cwd=directory)
        peer, _ = await host.welcome()
        assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}


async def test_it_never_imports_the_host(processes):
    program = processes.start(
        sys.executable, "-c", "import sys, vconnect.sdk; print(*sys.modules, sep='\\n')"
    )
    assert await program.exit_code() == 0
    loaded = set(program.stdout.split())
    assert "vconnect.sdk.client" in loaded
    assert not loaded & {"uvloop", "click", "aiohttp", "rich", "argparse", "vconnect.host.manager"}
    vconnect_modules = {name for name in loaded if name.startswith("vconnect.")}
    lower = {
        f"vconnect.{name}"
        for name in (
            "bounds errors json_rule names validation _framing _names".split()
            + "wire wire.messages wire._stream".split()
        )
    }
    assert {name for name in vconnect_modules if not name.startswith("vconnect.sdk")} <= lower


class Inside(Plugin):
    plugin_no = "wk.plugin.inside"

    @on("echo")
    def echo(self, ctx: Context) -> None:
        ctx.reply(ctx.payload)


@pytest.fixture
async def inside(socket_path):
    """A client inside the test's own process, and the task that runs it."""
    client = PluginClient(Inside(), socket_path)
    task = asyncio.create_task(client.run())
    yield client
    client.stop()
    async with asyncio.timeout(5):
        await task


async def test_a_silent_host_is_left_after_a_while(host, inside, monkeypatch, caplog):
    monkeypatch.setattr(client_module, "_HANDSHAKE_TIMEOUT_S", 0.1)
    peer = await host.accept()
    await peer.read()
    assert await peer.read() is None
    await until(lambda: "the host did not respond" in caplog.text, "a warning")


async def test_a_client_serves_without_run_plugin(host, inside):
    peer, _ = await host.welcome()
    assert await peer.ask("echo", 1) == {"status": "ok", "data": 1}


async def test_a_client_on_uvloop(processes, host):
    pytest.importorskip("uvloop")
    program = processes.start(sys.executable, PLUGINS / "kit_uvloop.py", host.path)
    peer, _ = await host.welcome()
    assert await peer.ask("echo", "x" * 500_000) == {
        "status": "ok",
        "data": ["uvloop", "x" * 500_000],
    }
    await peer.write({"event": "end"}, {"event": "echo", "payload": 2})
    assert await peer.read() == {"status": "ok"}
    assert (await peer.read())["data"][1] == 2
    assert await peer.read() is None
    assert await program.exit_code() == 0
