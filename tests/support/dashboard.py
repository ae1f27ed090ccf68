"""A real host with plugins in every state, and the dashboard in front of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from vconnect import AdminServer, PluginRuntimeManager

from .lab import Lab, until

EVENT = "message.incoming"
FILTER, SLOW, CRASHING, STOPPED, OBSERVER, HOSTILE = (
    *("word-filter", "translate", "thumbs", "geoip", "archive"),
    "evil",
)
MARKUP = "<script>alert(1)</script><img src=x onerror=alert(2)>"
# What hides or turns text round, and what a terminal would obey.
ODD = "\u202egnp.exe\u200b \x1b]0;title\x07 \x1b[31mred\x1b[0m"
API_KEY = "canary-5f1c"

# The event "lines" makes these two print.
_PRINT = """
def print_lines(payload):
    for number in range(payload["count"]):
        print(payload["text"].format(number), flush=number == payload["count"] - 1)
"""
_FILTER = f"""{_PRINT}
def answer(event):
    payload = event["payload"]
    if event["event"] == "lines":
        print_lines(payload)
    elif "spam" in payload.get("content", ""):
        return reply(event, {{"code": "spam", "message": "no spam here"}}, flow="stop")
    elif "gold" in payload.get("content", ""):
        clean = payload["content"].replace("gold", "****")
        return reply(event, {{}}, payload={{**payload, "content": clean, "from_uid": "nobody"}})
    return reply(event, {{}})

def reply(event, data, **more):
    return {{"id": event["id"], "status": "ok", "data": data, **more}}

print("loaded 4,112 words")
print('{{"level": "warn", "message": "two words are doubled", "list": "words.txt"}}')
print('{{"level": "error", "message": "one word is no word"}}')
print("DEBUG looked at words.txt", flush=True)
connection = Connection()
connection.greet(protocol_versions=[1], capabilities=["message.*", "lines"], priority=90)
for event in connection.events():
    if "id" in event:
        connection.send(answer(event))
    if event["event"] == "vconnect.stop":
        break
"""
_OBSERVER = f"""{_PRINT}
def answer(event):
    if event["event"] == "lines":
        print_lines(event["payload"])
    return {{"status": "ok", "data": {{}}}}
serve(answer, capabilities=["message.incoming", "lines"], priority=10)
"""
_SLOW = """
def answer(event):
    time.sleep(0.13)
    return {"status": "ok", "data": {}}
serve(answer, capabilities=["message.incoming"], priority=50)
"""
_SCHEMA = {
    "type": "object",
    "properties": {
        "max_length": {
            "type": "integer",
            "minimum": 1,
            "maximum": 65536,
            "description": "longest message in characters",
        },
        "api_key": {"type": "string", "writeOnly": True, "description": "of the word list"},
        "strict": {"type": "boolean", "description": "also parts of words"},
        "limits": {
            "type": "object",
            "properties": {"per_minute": {"type": "integer", "minimum": 1}},
        },
    },
    "additionalProperties": False,
}


def _hostile() -> str:
    # Its words are made from numbers, so that its last words are not lines of its program.
    words = [ord(one) for one in f"{MARKUP} {ODD} </script>"]
    return f"""
print("".join(map(chr, {words})), flush=True)
print("".join(map(chr, {words})), file=sys.stderr, flush=True)
sys.exit(3)
"""


def _install(lab: Lab) -> None:
    lab.plugin(
        FILTER,
        _FILTER,
        version="2.1.0",
        description="Takes out words that nobody wants to read",
        config={"max_length": 4096, "api_key": API_KEY, "limits": {"per_minute": 60}},
        config_schema=_SCHEMA,
    )
    lab.plugin(SLOW, _SLOW, version="0.9.3", description="Says it in the reader's language")
    lab.plugin(OBSERVER, _OBSERVER, description="Keeps all")
    lab.plugin(
        CRASHING,
        "print('ModuleNotFoundError: No module named \\'PIL\\'', file=sys.stderr)\nsys.exit(1)",
        version="1.4.0",
        description="Makes small pictures",
    )
    lab.plugin(STOPPED, "serve(capabilities=['user.online'], priority=30)", version="3.0.1")
    lab.plugin(HOSTILE, _hostile(), version="1.0", description=f"{MARKUP} {ODD}")


class Stage:
    """A host that tests play on.

    Attributes:
        lab: Where it lives.
        runtime: Its manager.
        server: Its server; another one after `come_back`.
        url: The dashboard's address.
    """

    def __init__(self, lab: Lab, runtime: PluginRuntimeManager) -> None:
        self.lab = lab
        self.runtime = runtime
        self.server = self._new_server("127.0.0.1:0")
        self.url = ""
        self._busy_at = 0.0
        self.view_token = "a-token-to-look-only"

    def _new_server(self, address: str) -> AdminServer:
        token = self.lab.directory / "view.token"
        return AdminServer(self.runtime, http=address, view_token_file=token, name="chat-1")

    async def open(self) -> None:
        """Start the plugins and the server, and let a few events pass."""
        _install(self.lab)
        token = self.lab.directory / "view.token"
        token.write_text(self.view_token)
        token.chmod(0o600)
        await self.runtime.start_all()
        await self.runtime.stop_plugin(STOPPED, by="alice")
        await until(lambda: self.is_in("crash loop", CRASHING), "the crash loop")
        await until(lambda: self.is_in("error", HOSTILE), "the hostile one's end")
        await self.events(4)
        await self.server.start()
        self.url = self.server.url or ""

    def is_in(self, state: str, name: str) -> bool:
        """Tell whether a plugin is in this state."""
        return self.runtime.summary(name).state == state

    @property
    def token(self) -> str:
        """The token of the role ``operate``."""
        return (self.lab.state / "admin.token").read_text().strip()

    async def events(self, count: int, content: str = "hello", event: str = EVENT) -> None:
        """Let so many events pass."""
        self._busy_at = time.monotonic()
        payload = {"message_id": "m-1", "from_uid": "ada", "content": content}
        await asyncio.gather(*(self.runtime.emit(event, payload) for _ in range(count)))

    async def keep_busy(self) -> None:
        """Let an event pass if the last one may soon be older than a minute."""
        if time.monotonic() - self._busy_at > 15:
            await self.events(1)

    async def lines(
        self, count: int, text: str = "line {} of a flood", *, by: str = FILTER
    ) -> None:
        """Let a plugin print so many lines."""
        await self.runtime.request(by, "lines", {"count": count, "text": text})

    async def unwatched(self) -> None:
        """Wait until nobody is connected to the dashboard, which leaves its own socket."""
        await until(lambda: len(self.server.descriptors()) == 1, "the end of all connections")

    async def go_away(self) -> None:
        """Stop the server, not the host."""
        await self.server.stop()

    async def come_back(self) -> None:
        """Start another server at the same address, which knows no session of the first."""
        self.server = self._new_server(self.url.removeprefix("http://").rstrip("/"))
        await self.server.start()


@asynccontextmanager
async def open_stage(lab: Lab) -> AsyncIterator[Stage]:
    """Start a host with its plugins and its dashboard."""
    options: dict[str, Any] = {
        "handshake_timeout": 30.0,
        "restart": "on-failure",
        "restart_delay": 0.01,
        "restart_max_delay": 0.02,
        "crash_limit": 2,
        "crash_hold": 300.0,
        "log_lines": 20_000,
        "log_lines_per_second": 50_000,
        "events": {EVENT: {"requires": [FILTER], "timeout": 5.0, "protected": ["from_uid"]}},
        "options": {
            FILTER: {"required": True},
            HOSTILE: {"restart": "never"},
            OBSERVER: {"events": {"*": {"role": "observer"}}},
        },
    }
    async with lab.manager(**options) as runtime:
        stage = Stage(lab, runtime)
        try:
            await stage.open()
            yield stage
        finally:
            await stage.server.stop()
