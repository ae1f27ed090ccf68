"""The plugins' socket: its file, its door, and what strangers may send to it."""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import stat
import subprocess
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.support.wire_kit import PATIENCE_S, Peer, frame, raw_frame, soon, until

from vconnect.errors import HandshakeError, PluginUnavailableError, SocketError
from vconnect.names import MAX_SOCKET_PATH_BYTES
from vconnect.sockets.private_socket import PrivateSocket, bind_private_socket
from vconnect.wire.messages import acknowledgment
from vconnect.wire.server import Admission, UnixSocketServer
from vconnect.wire.session import LaneLimits, Session

pytestmark = pytest.mark.both_loops

LIMITS = LaneLimits(
    window=8,
    max_queued=16,
    max_notified=16,
    max_abandoned=8,
    stuck_after=30.0,
    max_frame_bytes=1 << 24,
)
DOCUMENTED = {"type": "handshake", "plugin_no": "wk.plugin.example", "capabilities": ["message"]}
ORIGINAL = {"capabilities": ["message"], "name": "example", "priority": 1, "version": "0.1.0"}

SECOND_HOST = """
import sys
from vconnect.errors import SocketError
from vconnect.sockets.private_socket import bind_private_socket
try:
    bind_private_socket(sys.argv[1])
except SocketError as error:
    print(error)
"""


class Gate:
    """Admits everybody but those called ``stranger``."""

    def __init__(self) -> None:
        self.config: dict[str, Any] = {"greeting": "hello"}
        self.peers: list[Any] = []
        self.sessions: list[Session] = []
        self.ended: list[tuple[Session, Exception | None]] = []
        self.refused_peers: list[tuple[Any, HandshakeError]] = []

    def owner(self, peer):
        return peer  # what comes back with the other calls

    def admit(self, handshake, peer, owner):
        self.peers.append(peer)
        if handshake.plugin == "stranger":
            raise HandshakeError("stranger", "nobody started it")
        return Admission(acknowledgment(self.config))

    def attached(self, session, owner):
        self.sessions.append(session)

    def detached(self, session, error):
        self.ended.append((session, error))

    def called(self, session, payload):
        raise AssertionError("these plugins call nothing")

    def held_loop(self, session, seconds):
        raise AssertionError("nothing takes long here")

    def charged(self, session, seconds):
        """On a busy machine anything may take long."""

    def knocked(self, peer):
        pass

    def became_ready(self, session):
        raise AssertionError("these plugins are ready at once")

    def refused(self, peer, error):
        self.refused_peers.append((peer, error))


def refuse_all(handshake, peer, owner):
    raise HandshakeError("stranger", "nobody started it")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "sockets" / "runtime.sock"


@asynccontextmanager
async def running(path: Path, *, handshake_timeout: float = 30.0, limits: LaneLimits = LIMITS):
    gate = Gate()
    server = UnixSocketServer(path, gate, limits, handshake_timeout)
    await server.start()
    try:
        yield server, gate
    finally:
        await server.close()


@asynccontextmanager
async def plugin(server: UnixSocketServer):
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    peer = Peer(sock)
    try:
        await asyncio.get_running_loop().sock_connect(sock, str(server.path))
        yield peer
    finally:
        peer.close()


async def refused(peer: Peer, code: str) -> str:
    answer = await peer.read()
    assert answer["status"] == "error"
    assert answer["code"] == code
    assert await peer.read() is None
    return answer["message"]


async def works(server: UnixSocketServer) -> None:
    async with plugin(server) as peer:
        await peer.answer(ORIGINAL)
        assert (await peer.read())["status"] == "ok"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


# --- the file --------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
async def test_modes_whatever_the_umask(tmp_path, umask):
    path = tmp_path / "a" / "b" / "runtime.sock"
    before = os.umask(umask)
    try:
        async with running(path):
            assert mode(path) == 0o600
            assert (mode(path.parent), mode(path.parent.parent)) == (0o700, 0o700)
            assert mode(path.with_name("runtime.sock.lock")) & 0o077 == 0
    finally:
        assert os.umask(before) == umask
    assert not path.exists()


async def test_a_stale_socket_is_taken_over(path):
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with running(path) as (server, _):
        await works(server)


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
async def test_what_is_no_socket_is_never_unlinked(path, kind):
    path.parent.mkdir(mode=0o700)
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to("/dev/null")
    before = path.lstat()
    with pytest.raises(SocketError, match="is not a socket; move it away"):
        async with running(path):
            pass
    assert path.lstat() == before


async def test_a_path_that_is_too_long(tmp_path):
    name = "x" * (MAX_SOCKET_PATH_BYTES - len(os.fsencode(tmp_path)) - 1)
    async with running(tmp_path / name) as (server, _):
        await works(server)
    with pytest.raises(SocketError, match=f"kernel allows {MAX_SOCKET_PATH_BYTES}. Use a shorter"):
        bind_private_socket(tmp_path / (name + "x"))


async def test_a_second_host_is_told_who_is_first(path):
    async with running(path) as (server, _):
        second = await asyncio.create_subprocess_exec(
            sys.executable, "-c", SECOND_HOST, str(path), stdout=subprocess.PIPE
        )
        out, _ = await asyncio.wait_for(second.communicate(), PATIENCE_S)
        assert f"another host (PID {os.getpid()}) serves {path}" in out.decode()
        with pytest.raises(SocketError, match=f"PID {os.getpid()}"):
            bind_private_socket(path)
        await works(server)
    bind_private_socket(path).close()


async def test_a_lost_file_is_bound_again_and_connections_go_on(path, caplog, monkeypatch):
    monkeypatch.setattr("vconnect.sockets.listener._WATCH_SECONDS", 0.01)
    async with running(path) as (server, gate), plugin(server) as peer:
        await peer.answer(ORIGINAL)
        await peer.read()
        path.unlink()
        await until(path.exists)
        assert mode(path) == 0o600
        await until(lambda: "had disappeared; bound it again" in caplog.text)
        call = gate.sessions[0].call(frame({}), soon())
        await peer.answer({"still": "here"})
        assert await call == {"still": "here"}
        await works(server)
    assert not path.exists()


async def test_closing_twice_and_with_connections(path):
    async with running(path) as (server, gate), plugin(server) as peer, plugin(server) as silent:
        await peer.answer(ORIGINAL)
        await peer.read()
        call = gate.sessions[0].call(frame({}), soon())
        await server.close()
        await server.close()
        assert [session for session, _ in gate.ended] == gate.sessions
        with pytest.raises(PluginUnavailableError):
            await call
        assert await silent.read() is None


@pytest.mark.parametrize("turns", range(8))
async def test_it_closes_while_others_keep_connecting(path, turns):
    async with running(path) as (server, gate), AsyncExitStack() as peers:
        for _ in range(100):
            await peers.enter_async_context(plugin(server))
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await server.close()
        assert gate.sessions == []


# With no turn at all asyncio itself has accepted and not yet built the transport; up to Python
# 3.11 it then drops the socket, which is beyond our reach.
@pytest.mark.parametrize("turns", range(1, 6))
async def test_nobody_slips_in_while_it_closes(path, turns):
    async with running(path) as (server, gate), plugin(server) as peer:
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.close()
        for _ in range(6):
            await asyncio.sleep(0)
        assert await peer.read() is None
        assert gate.sessions == []


async def test_what_stands_in_the_lost_files_place_is_left_and_told_once(path, caplog, monkeypatch):
    monkeypatch.setattr("vconnect.sockets.listener._WATCH_SECONDS", 0.001)
    rebind, tries = PrivateSocket.rebind, []
    monkeypatch.setattr(PrivateSocket, "rebind", lambda own: tries.append(1) or rebind(own))
    async with running(path) as (server, _):
        path.unlink()
        path.write_text("precious")
        await until(lambda: len(tries) > 3)
        assert path.read_text() == "precious"
        assert caplog.text.count("socket file lost and not restored") == 1
        path.unlink()
        await until(lambda: "had disappeared; bound it again" in caplog.text)
        await works(server)


async def test_the_service_managers_socket_is_served_and_stays(path):
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        server = UnixSocketServer(path, Gate(), LIMITS, 30.0, listening.dup())
        await server.start()
        await works(server)
        await server.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


async def test_who_connects_before_it_listens_has_to_wait(path):
    gate = Gate()
    server = UnixSocketServer(path, gate, LIMITS, 30.0)
    assert server.bind() is server.bind()
    async with plugin(server) as peer:
        await peer.answer(ORIGINAL)
        await server.start()
        assert (await peer.read())["status"] == "ok"
        await server.close()


# --- the door --------------------------------------------------------------------------------


async def test_both_spellings_on_one_socket(path):
    async with running(path) as (server, gate):
        for message in (DOCUMENTED, ORIGINAL):
            async with plugin(server) as peer:
                await peer.answer(message)
                assert await peer.read() == {"status": "ok", "config": {"greeting": "hello"}}
        await until(lambda: len(gate.ended) == 2)
        assert [session.handshake.plugin for session in gate.sessions] == ["example", "example"]
        assert [error for _, error in gate.ended] == [None, None]
        assert server.refusals.count == 0


async def test_the_peers_credentials(path):
    async with running(path) as (server, gate):
        await works(server)
        assert (gate.peers[0].pid, gate.peers[0].uid) == (os.getpid(), os.geteuid())


async def test_one_byte_at_a_time(path):
    async with running(path) as (server, gate), plugin(server) as peer:
        for byte in frame(DOCUMENTED):
            await peer.write(bytes([byte]))
            await asyncio.sleep(0)
        assert (await peer.read())["status"] == "ok"
        assert len(gate.sessions) == 1


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\x10", b"\0\0\0\x10{", b"\0\0\x80\0{"])
async def test_silence_meets_the_deadline(path, data):
    async with running(path, handshake_timeout=0.1) as (server, gate), plugin(server) as peer:
        await peer.write(data)
        assert "no handshake within 0.1 s" in await refused(peer, "handshake_timeout")
        assert gate.peers == []
        assert server.refusals.count == 1


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\x10{", b"\0\0\x80\0{"])
async def test_a_close_before_the_handshake_disturbs_nobody(path, data):
    async with running(path) as (server, gate):
        async with plugin(server) as peer:
            await peer.write(data)
        await works(server)
        assert len(gate.peers) == 1


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\0\0\0\0", "empty frame"),
        (
            b"\xff\xff\xff\xff",
            "frame of 4294967295 bytes; the limit is 65536 (before the handshake)",
        ),
        (raw_frame(b'{"name":'), "line 1 column"),
        (raw_frame(b'{"name":"\xff"}'), "UTF-8"),
        (raw_frame(b'{"name":NaN}'), "char 8"),
        (raw_frame(b'{"name":"x","n":99999999999999999999}'), "64 bits at byte 16"),
        (raw_frame(b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"), "nested too deeply"),
        (raw_frame(b'{"a":[' + b"1," * 5000 + b"1]}"), "the limit is 4096 (before the handshake)"),
        (raw_frame(b"[]"), "expected an object"),
        (b"GET / HTTP/1.1\r\n\r\n", "frame of 1195725856 bytes"),
    ],
    ids=lambda words: words if isinstance(words, str) else "",
)
async def test_what_is_no_handshake_is_refused_with_its_place(path, data, words):
    async with running(path) as (server, gate), plugin(server) as peer:
        await peer.write(data)
        message = await refused(peer, "bad_handshake")
        assert message.startswith("expected a handshake: ")
        assert words in message
        assert gate.peers == []
        await works(server)


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"name": "stranger"}, "stranger"),
        ({"version": "1"}, "nameless"),
        ({"name": "../x"}, "bad_name"),
        ({"name": "x" * 60_000}, "bad_name"),
        ({"name": "x", "protocol_versions": [9]}, "version_mismatch"),
    ],
)
async def test_refusals(path, message, code):
    async with running(path) as (server, gate), plugin(server) as peer:
        writing = asyncio.create_task(peer.answer(message))
        assert len(await refused(peer, code)) < 1000
        await writing
        assert (gate.sessions, server.refusals.count) == ([], 1)


@pytest.mark.parametrize("config", [{"n": 1 << 64}, {"text": "x" * 2000}])
async def test_a_configuration_that_cannot_be_sent(path, config):
    limits = msgspec.structs.replace(LIMITS, max_frame_bytes=1024)
    async with running(path, limits=limits) as (server, gate), plugin(server) as peer:
        gate.config = config
        await peer.answer(ORIGINAL)
        assert "configuration cannot be sent" in await refused(peer, "bad_config")
        assert gate.sessions == []


async def test_a_protobuf_handshake_is_refused_by_that_name(path, caplog):
    # What the kit of v-connect-im sends since 2025-12-09; its first bytes are not UTF-8 either.
    greeting = bytes.fromhex(
        "0a14762e706c7567696e2e73746f726167652d6d696e1205302e312e301a0773746f72616765"
        "2084072a0870726f746f627566"
    )
    async with running(path) as (server, gate), plugin(server) as peer:
        await peer.write(raw_frame(greeting))
        message = await refused(peer, "bad_handshake")
        assert message.startswith("storage-min speaks the protobuf wire of v-connect-im")
        assert gate.refused_peers[0][1].code == "bad_handshake"
    assert "refused a connection as storage-min from PID" in caplog.text


async def test_a_length_costs_no_memory(path):
    async with running(path) as (server, _):
        await works(server)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(50):
            async with plugin(server) as peer:
                await peer.write(b"\xff\xff\xff\xff" + b"x" * 1000)
                await refused(peer, "bad_handshake")
            async with plugin(server) as peer:
                await peer.write(b"\0\xff\xff\xff{")  # allowed, and never filled
        await works(server)  # the last of them was accepted before this one
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert grown < 32 * 1024  # KiB, or bytes on macOS: generous either way


async def test_the_gatekeeper_hears_of_each_refusal_and_of_its_owner(path, caplog):
    async with running(path) as (server, gate):
        for message, code in (({"name": "stranger"}, "stranger"), ({}, "nameless")):
            async with plugin(server) as peer:
                await peer.answer(message)
                await refused(peer, code)
            assert (
                f"refused a connection{' as ' + message['name'] if message else ''} from PID"
                in (caplog.text)
            )
        assert [error.code for _, error in gate.refused_peers] == ["stranger", "nameless"]
        assert {owner.pid for owner, _ in gate.refused_peers} == {os.getpid()}


async def test_an_admission_may_have_bounds_of_its_own(path):
    class NarrowGate(Gate):
        def admit(self, handshake, peer, owner):
            narrow = msgspec.structs.replace(LIMITS, max_frame_bytes=1024)
            return Admission(acknowledgment({"text": "x" * 2000}), narrow)

    server = UnixSocketServer(path, NarrowGate(), LIMITS, 30.0)
    await server.start()
    try:
        async with plugin(server) as peer:
            await peer.answer(ORIGINAL)
            assert "cannot be sent" in await refused(peer, "bad_config")
    finally:
        await server.close()


async def test_a_frame_behind_a_refused_one_is_not_read(path):
    async with running(path) as (server, gate), plugin(server) as peer:
        await peer.write(frame({"name": "stranger"}) + frame(ORIGINAL))
        await refused(peer, "stranger")
        assert (gate.sessions, server.refusals.count) == ([], 1)


async def test_frames_right_behind_the_handshake_are_ignored(path):
    async with running(path) as (server, gate), plugin(server) as peer:
        await peer.write(frame(ORIGINAL) + frame({"never": "asked"}))
        await peer.read()
        call = gate.sessions[0].call(frame({}), soon())
        await peer.answer({"n": 1})
        assert await call == {"n": 1}


# --- too many ---------------------------------------------------------------------------------


async def test_one_process_may_have_few_connections_that_say_nothing(path, monkeypatch):
    monkeypatch.setattr("vconnect.wire.waiting_room.MAX_WAITING_OF_ONE", 3)
    async with running(path) as (server, gate), AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(plugin(server)) for _ in range(3)]
        await until(lambda: len(server.waiting) == 3)
        async with plugin(server) as peer:
            assert "3 connections of PID" in await refused(peer, "overloaded")
        assert gate.peers == []  # at little cost
        silent[0].close()
        await until(lambda: len(server.waiting) == 2)
        await works(server)
        assert len(server.waiting) == 2


async def test_the_oldest_makes_room_if_there_are_too_many(path, monkeypatch):
    monkeypatch.setattr("vconnect.wire.waiting_room.MAX_WAITING", 3)
    async with running(path) as (server, _), AsyncExitStack() as stack:
        silent = [await stack.enter_async_context(plugin(server)) for _ in range(3)]
        await until(lambda: len(server.waiting) == 3)
        await works(server)
        assert "3 other connections have not shaken hands" in await refused(silent[0], "overloaded")
        await silent[1].answer(ORIGINAL)
        assert (await silent[1].read())["status"] == "ok"


async def test_a_process_that_has_ended_is_not_let_in(path):
    def gone(_: Any) -> Any:
        raise ProcessLookupError

    server = UnixSocketServer(path, Gate(), LIMITS, 30.0, identify=gone)
    await server.start()
    try:
        async with plugin(server) as peer:
            assert await peer.read() is None
        assert len(server.waiting) == 0
    finally:
        await server.close()
