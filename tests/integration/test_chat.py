"""The chat of ``make run``, with real plugins and with WebSockets in place of browsers."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.support import toolchains
from tests.support.lab import PATIENCE_FACTOR

ROOT = Path(__file__).parents[2]
PLUGINS = ROOT / "examples" / "chat" / "plugins"
DEADLINE_S = 30.0 * PATIENCE_FACTOR
WEB_SOCKET = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


_chats = count()


class Chat:
    """A chat in a session of its own, with a copy of the plugins.

    Attributes:
        address: Where its page is.
        admin: The socket for ``vconnect --admin``.
        words: The filter's file of words.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.words = directory / "plugins" / "word-filter" / "words.txt"
        self._output = directory / f"output-{next(_chats)}"
        places = ("--port", "0", "--plugins", str(directory / "plugins"))
        with self._output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "examples.chat", *places, *options],
                cwd=ROOT,
                env={**os.environ, "TMPDIR": str(directory / "tmp")},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        until(lambda: "Ctrl-C" in self.output or self.process.poll() is not None, self.output)
        found = re.search(r"Chat +(http://\S+/)(?s:.*?) --admin (\S+/admin\.sock)", self.output)
        assert found, self.output
        self.address = found[1]
        self.admin = Path(found[2])

    @property
    def output(self) -> str:
        return self._output.read_text()

    def end(self, number: int = signal.SIGINT) -> int:
        """Send a signal to everybody in the terminal, as Ctrl-C does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)
        return self.process.wait(DEADLINE_S)

    async def vconnect(self, *arguments: str) -> str:
        admin = ("--admin", str(self.admin))
        asked = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vconnect", *admin, *arguments), stdout=subprocess.PIPE
        )
        said, _ = await asked.communicate()
        return said.decode()

    async def pid(self, plugin: str) -> int | None:
        return json.loads(await self.vconnect("status", plugin, "--json"))["pid"]

    async def kill(self, plugin: str) -> int:
        """End a plugin without a warning, and return its PID."""
        pid = await self.pid(plugin)
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        return pid


class Person:
    """Somebody in the chat."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self._nonces = count()

    async def send(self, kind: str, **fields: Any) -> None:
        await self.socket.send_json({"type": kind, **fields})

    async def hears(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Wait for a frame with these fields, past all others."""
        async with asyncio.timeout(DEADLINE_S):
            while True:
                heard = await self.socket.receive_json()
                if heard["type"] == kind and fields.items() <= heard.items():
                    return heard

    async def say(self, text: str) -> dict[str, Any]:
        """Say something, and return what becomes of it: the message, or why there is none."""
        nonce = str(next(self._nonces))
        await self.send("say", room="lobby", text=text, nonce=nonce)
        async with asyncio.timeout(DEADLINE_S):
            while True:
                heard = await self.socket.receive_json()
                if heard.get("nonce") == nonce:
                    return heard

    async def closed_with(self) -> int:
        async with asyncio.timeout(DEADLINE_S):
            async for _ in self.socket:
                pass
        assert self.socket.close_code is not None
        return self.socket.close_code


@asynccontextmanager
async def person(chat: Chat, name: str = "") -> AsyncIterator[Person]:
    """Open a WebSocket, as the page does; with a name, join."""
    origin = chat.address.rstrip("/")
    async with (
        aiohttp.ClientSession() as session,
        session.ws_connect(f"{chat.address}ws", origin=origin) as socket,
    ):
        opened = Person(socket)
        if name:
            await opened.send("hello", name=name)
            await opened.hears("room")
        yield opened


def until(holds: Callable[[], object], shown: object = "") -> None:
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end, shown
        time.sleep(0.02)


@contextmanager
def place() -> Iterator[Path]:
    """A directory with a copy of the plugins; its path is short enough for sockets."""
    directory = Path(tempfile.mkdtemp(prefix="vc-", dir="/tmp")).resolve()
    (directory / "tmp").mkdir()
    shutil.copytree(PLUGINS, directory / "plugins")
    yield directory
    shutil.rmtree(directory)


@contextmanager
def ending(chat: Chat) -> Iterator[Chat]:
    """End a chat, which has to end well."""
    try:
        yield chat
    finally:
        code = chat.end()
    assert code == 0, chat.output
    assert "Traceback" not in chat.output


@pytest.fixture(scope="module")
def chat() -> Iterator[Chat]:
    with (
        place() as directory,
        ending(Chat(directory, "--dir", str(directory / "state"))) as serving,
    ):
        yield serving


# What is said.


async def test_two_people_see_what_the_other_one_says(chat: Chat) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
        names = [user["name"] for user in (await ada.hears("presence"))["users"]]
        assert names == ["ada", "bob"]
        said = await ada.say("hello, bob")
        heard = await bob.hears("message")
        assert (heard["from"]["name"], heard["text"]) == ("ada", "hello, bob")
        assert heard["id"] == said["id"]
        assert "by" not in heard
        assert "nonce" not in heard
        await bob.say("hello, ada")
        assert (await ada.hears("message"))["text"] == "hello, ada"


async def test_who_comes_later_sees_what_was_said(chat: Chat) -> None:
    async with person(chat, "ada") as ada, person(chat) as late:
        await ada.say("who comes later?")
        await late.send("hello", name="late")
        room = await late.hears("room")
        assert room["messages"][-1]["text"] == "who comes later?"
        await late.send("join", room="random")
        assert (await late.hears("room"))["users"][0]["name"] == "late"
        left = await ada.hears("rooms", rooms=[*sizes(lobby=1, plugins=0, random=1)])
        assert left


def sizes(**people: int) -> Iterator[dict[str, Any]]:
    return ({"name": name, "people": number} for name, number in people.items())


async def test_a_name_is_had_by_one_person_only(chat: Chat) -> None:
    async with person(chat, "ada"), person(chat) as other:
        await other.send("hello", name="  Ada ")
        assert (await other.hears("welcome"))["name"] == "Ada 2"


@pytest.mark.parametrize("name", ["   ", "x" * 25, "a\u202eb"])
async def test_a_name_that_cannot_be_read_is_refused(chat: Chat, name: str) -> None:
    async with person(chat) as nobody:
        await nobody.send("hello", name=name)
        assert (await nobody.hears("refused"))["code"] == "bad_name"
        await nobody.send("hello", name="somebody")
        await nobody.hears("welcome")


async def test_typing_is_told_to_the_others(chat: Chat) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
        await ada.send("typing", on=True)
        assert (await bob.hears("typing"))["name"] == "ada"
        await ada.say("and plugins never hear of it")
    assert "typing" not in await chat.vconnect("list", "--json")


async def test_a_bad_word_arrives_masked(chat: Chat) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
        await ada.say("what the Heck")
        heard = await bob.hears("message")
        assert (heard["text"], heard["by"]) == ("what the H***", ["word-filter"])


async def test_a_refusal_goes_to_the_sender_only(chat: Chat) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
        refused = await ada.say("Free Bitcoin for all")
        assert refused["type"] == "refused"
        assert refused["code"] == "bad_word"
        assert refused["message"] == "“Free Bitcoin” is not welcome here"
        await ada.say("sorry")
        assert (await bob.hears("message"))["text"] == "sorry"


async def test_the_bot_answers_after_the_question(chat: Chat) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
        await ada.send("say", room="lobby", text="/roll 2d6")
        assert (await bob.hears("message"))["text"] == "/roll 2d6"
        answer = await bob.hears("message", bot=True)
        assert re.fullmatch(r"ada rolls 2d6: \d \+ \d = \d+", answer["text"])
        await ada.send("say", room="lobby", text="/stats")
        answer = await bob.hears("message", bot=True)
        assert re.match(r"Since I began to count: \d+ messages, \d+ joined", answer["text"])
        await ada.send("say", room="lobby", text="/help")
        assert "/roll" in (await bob.hears("message", bot=True))["text"]


# What happens to plugins.


@pytest.mark.slow
async def test_without_the_filter_nothing_passes_and_soon_it_is_back(chat: Chat) -> None:
    async with person(chat, "ada") as ada:
        await chat.kill("word-filter")
        killed_at = time.monotonic()
        refused = await ada.say("is it there?")
        assert refused["type"] == "refused"
        assert "nothing is sent without word-filter" in refused["message"]
        assert state_of("word-filter", await ada.hears("plugins")) in ("down", "starting")
        while (await ada.say("and now?"))["type"] == "refused":
            await asyncio.sleep(0.2)
        assert time.monotonic() - killed_at < 3.0 * PATIENCE_FACTOR
        assert not ada.socket.closed


async def test_a_word_that_is_saved_is_masked_without_a_restart(chat: Chat) -> None:
    async with person(chat, "ada") as ada:
        assert (await ada.say("a turnip"))["text"] == "a turnip"
        chat.words.write_text(chat.words.read_text() + "turnip\n")
        async with asyncio.timeout(DEADLINE_S):
            # The old process answers until the new one has the word: no message is refused.
            while (said := await ada.say("a turnip"))["text"] != "a t*****":
                await asyncio.sleep(0.2)
        assert said["by"] == ["word-filter"]


@pytest.mark.slow
async def test_the_chat_goes_on_without_the_bot(chat: Chat) -> None:
    async with person(chat, "ada") as ada, person(chat, "bob") as bob:
        await chat.vconnect("stop", "bot")
        while state_of("bot", await bob.hears("plugins")) != "stopped":
            pass
        await ada.say("/help")
        await ada.say("nobody answers")
        heard = [(await bob.hears("message"))["text"] for _ in range(2)]
        assert heard == ["/help", "nobody answers"]
        await chat.vconnect("start", "bot")
        while state_of("bot", await bob.hears("plugins")) != "running":
            pass
        await ada.say("/help")
        await bob.hears("message", bot=True)


def state_of(name: str, strip: dict[str, Any]) -> str:
    (state,) = [plugin["state"] for plugin in strip["plugins"] if plugin["name"] == name]
    return str(state)


@pytest.mark.slow
async def test_all_messages_arrive_once_and_in_order_while_stats_is_killed(chat: Chat) -> None:
    async with person(chat, "listener") as listener:
        killing = asyncio.create_task(kill_five_times(chat, "stats"))
        talking = [asyncio.create_task(talk(chat, f"talker {i}", 20)) for i in range(10)]
        heard: dict[str, list[str]] = {}
        for _ in range(200):
            message = await listener.hears("message")
            heard.setdefault(message["from"]["name"], []).append(message["text"])
        await asyncio.gather(killing, *talking)
        assert heard == {f"talker {i}": [f"{n}" for n in range(20)] for i in range(10)}
        await asyncio.sleep(0)
        await listener.say("the end")  # and nothing has come a second time before it


async def talk(chat: Chat, name: str, messages: int) -> None:
    async with person(chat, name) as talker:
        for number in range(messages):
            assert (await talker.say(str(number)))["type"] == "message"
            await asyncio.sleep(0.3)


async def kill_five_times(chat: Chat, plugin: str) -> None:
    killed = None
    for _ in range(5):
        while await chat.pid(plugin) in (None, killed):
            await asyncio.sleep(0.05)
        killed = await chat.kill(plugin)


# What a client may not do.


async def test_frames_have_at_most_four_kibibytes(chat: Chat) -> None:
    async with person(chat, "ada") as ada:
        frame = json.dumps({"type": "say", "room": "lobby", "text": "x", "nonce": "1", "pad": ""})
        await ada.socket.send_str(
            frame.replace('"pad": ""', f'"pad": "{"x" * (4096 - len(frame))}"')
        )
        await ada.hears("message", nonce="1")
        await ada.socket.send_str(
            frame.replace('"pad": ""', f'"pad": "{"x" * (4097 - len(frame))}"')
        )
        assert await ada.closed_with() == aiohttp.WSCloseCode.MESSAGE_TOO_BIG


async def test_ten_frames_a_second_are_allowed(chat: Chat) -> None:
    async with person(chat, "ada") as ada:
        answers = [await ada.say(f"{number}") for number in range(30)]
        kinds = [answer["type"] for answer in answers]
        assert kinds[:9] == ["message"] * 9  # the tenth was the hello
        refused = [answer for answer in answers if answer["type"] == "refused"]
        assert {answer["code"] for answer in refused} == {"too_fast"}
        await asyncio.sleep(1.0)
        assert (await ada.say("slower"))["type"] == "message"


async def test_a_client_that_floods_is_closed(chat: Chat) -> None:
    async with person(chat, "ada") as ada:
        for _ in range(300):
            await ada.send("typing", on=True)
        assert await ada.closed_with() == aiohttp.WSCloseCode.POLICY_VIOLATION


@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "shout", "room": "lobby", "text": "x"}',
        '{"type": "say", "room": "lobby"}',
        '{"type": "say", "room": "lobby", "text": "\\ud800"}',
        '{"type": "hello", "name": "again"}',
        '{"room": "lobby"}',
        "[]",
        "what?",
    ],
)
async def test_what_no_page_sends_closes_the_connection(chat: Chat, frame: str) -> None:
    async with person(chat, "ada") as ada:
        await ada.socket.send_str(frame)
        assert await ada.closed_with() == aiohttp.WSCloseCode.POLICY_VIOLATION


async def test_the_first_frame_is_a_hello(chat: Chat) -> None:
    async with person(chat) as nobody:
        await nobody.send("say", room="lobby", text="who am I?")
        assert await nobody.closed_with() == aiohttp.WSCloseCode.POLICY_VIOLATION


@pytest.mark.parametrize("origin", ["http://evil.test", "null", "http://127.0.0.1:1", None])
async def test_pages_of_others_get_no_web_socket(chat: Chat, origin: str | None) -> None:
    headers = WEB_SOCKET | ({"Origin": origin} if origin else {})
    assert await status_of(chat, "ws", headers) == 403


@pytest.mark.parametrize("host", ["evil.test", "localhost.evil.test", "127.0.0.1:80@x", ""])
async def test_other_names_of_this_machine_are_refused(chat: Chat, host: str) -> None:
    assert await status_of(chat, "", {"Host": host}) == 403
    headers = WEB_SOCKET | {"Host": host, "Origin": f"http://{host}"}
    assert await status_of(chat, "ws", headers) == 403


async def status_of(chat: Chat, path: str, headers: dict[str, str]) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.get(chat.address + path, headers=headers) as response,
    ):
        return response.status


@pytest.mark.parametrize(
    "path", ["", "chat.css", "chat.js", "icon.svg", "server.py", "../server.py"]
)
async def test_every_response_has_the_policy(chat: Chat, path: str) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(chat.address + path) as response,
    ):
        assert response.status == (404 if path.endswith(".py") else 200)
        policy = response.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
        assert "require-trusted-types-for 'script'" in policy
        assert response.headers["X-Content-Type-Options"] == "nosniff"


# How it begins and ends.


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
async def test_an_interrupt_leaves_nothing(number: int) -> None:
    with place() as directory, ending(Chat(directory)) as chat:
        assert chat.admin.is_relative_to(directory / "tmp")
        listed = json.loads(await chat.vconnect("list", "--json"))
        plugins = [plugin["pid"] for plugin in listed["plugins"]]
        assert len(plugins) >= 2
        async with person(chat, "ada") as ada:
            await ada.say("good night")
            assert chat.end(number) == 0, chat.output
            assert await ada.closed_with() == aiohttp.WSCloseCode.GOING_AWAY
        assert [*(directory / "tmp").iterdir()] == []
        assert not any(is_alive(pid) for pid in plugins)
        assert chat.output.splitlines()[-1].startswith("Ctrl-C"), chat.output


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
async def test_what_is_missing_is_left_out_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    with place() as directory:
        monkeypatch.setenv("PATH", str(directory))
        with ending(Chat(directory)) as chat:
            assert "the bot is the one in Python" in chat.output
            assert "there are no statistics" in chat.output
            async with person(chat, "ada") as ada:
                await ada.send("say", room="lobby", text="/roll")
                rolled = await ada.hears("message", bot=True)
                assert rolled["text"].startswith("ada rolls 1d6")
                await ada.send("say", room="lobby", text="/stats")
                told = await ada.hears("message", bot=True)
                assert told["text"].startswith("I cannot get the statistics")


@pytest.mark.slow
@toolchains.needs("cc", "make")
async def test_without_cargo_the_statistics_are_those_in_c() -> None:
    with place() as directory:
        shutil.rmtree(directory / "plugins" / "stats")
        with ending(Chat(directory)) as chat:
            assert "the statistics are the ones in C" in chat.output
            async with person(chat, "ada") as ada:
                await ada.say("hello")
                await ada.send("say", room="lobby", text="/stats")
                told = await ada.hears("message", bot=True)
                assert "2 messages, 1 joined, 0 left" in told["text"]


@pytest.mark.slow
def test_a_taken_port_is_no_obstacle() -> None:
    with place() as directory, socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with ending(Chat(directory, "--port", str(port))) as chat:
            assert f"port {port} is taken" in chat.output
            assert f":{port}/" not in chat.address


def test_an_interrupt_while_it_starts_is_no_error() -> None:
    with place() as directory:
        process = subprocess.Popen(
            [sys.executable, "-m", "examples.chat", "--port", "0"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(directory / "tmp")},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        until(lambda: [*(directory / "tmp").iterdir()], "no directory")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE_S)
        assert (process.returncode in (0, 130), said) == (True, b"")
        assert [*(directory / "tmp").iterdir()] == []
