"""The chat's plugins: everything that embeds vconnect in this program."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from vconnect import (
    HostCall,
    HostCallError,
    PluginRuntimeManager,
    PluginStatus,
    PluginSummary,
    Substate,
)

from .protocol import Message, PluginState, Room, Text

FILTER = "word-filter"
STARTING = (Substate.SPAWNED, Substate.HANDSHAKING, Substate.INITIALIZING)

#: Posts a message of a bot: its name, the room, the text.
Post = Callable[[str, str, str], Awaitable[Message]]


class RefusedError(Exception):
    """A message that goes no further: a code for programs, words for its sender."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Posting(msgspec.Struct):
    """The parameters of ``chat.post``."""

    room: Room
    text: Text


def new_runtime(sources: Mapping[str, Path], directory: Path) -> PluginRuntimeManager:
    """Return a manager that runs these plugins from source.

    Args:
        sources: The directory of each plugin, by its name.
        directory: Where the manager keeps its socket and its state.
    """
    return PluginRuntimeManager(
        plugin_dir=directory / "plugins",
        socket_path=directory / "plugins.sock",
        dev_plugins=[f"{name}:{path}" for name, path in sources.items()],
        events={
            "message.incoming": {
                "requires": [FILTER],  # no message gets by while the filter is down
                "timeout": 2.0,
                "protected": ["message_id", "room", "from_uid", "from", "timestamp"],
            }
        },
        options={
            FILTER: {"watch_also": ["words.txt"]},
            "bot": {
                "events": {
                    "message.incoming": {"role": "observer", "match": {"content": {"prefix": "/"}}}
                }
            },
            "stats": {"events": {"message.incoming": {"role": "observer"}}},
        },
        # People kill plugins here on purpose, and want to see them return.
        restart_delay=1.0,
        restart_max_delay=2.0,
        crash_limit=20,
    )


async def pass_plugins(runtime: PluginRuntimeManager, message: Message) -> Message:
    """Send a message through the chain, and return what it has become.

    Raises:
        RefusedError: A plugin stopped it, or the filter did not answer.
    """
    outcome = await runtime.emit("message.incoming", _payload(message))
    if outcome.refusal is not None:
        words = outcome.refusal.message
        if outcome.reason is not None:
            words = f"nothing is sent without {outcome.refusal.plugin}: {words}"
        raise RefusedError(outcome.refusal.code, words)
    text = outcome.payload.get("content") if isinstance(outcome.payload, dict) else None
    if not isinstance(text, str):
        raise RefusedError("bad_answer", "a plugin has made something else of it than text")
    by = [result.plugin for result in outcome.results if result.changed]
    return msgspec.structs.replace(message, text=text, by=by)


def _payload(message: Message) -> dict[str, object]:
    return {
        "message_id": message.id,
        "room": message.room,
        "from_uid": message.sender.uid,
        "from": message.sender.name,
        "content": message.text,
        "timestamp": int(message.at * 1000),
    }


def offer_post(runtime: PluginRuntimeManager, post: Post) -> None:
    """Let plugins with the permission ``chat.post`` post messages."""

    @runtime.host_call("chat.post")
    async def chat_post(call: HostCall) -> dict[str, str]:
        try:
            posting = msgspec.convert(call.params, Posting)
            message = await post(call.plugin, posting.room, posting.text)
        except msgspec.ValidationError as error:
            raise HostCallError("bad_request", str(error)) from None
        except RefusedError as error:
            raise HostCallError(error.code, error.message) from None
        return {"id": message.id}


def plugin_states(runtime: PluginRuntimeManager) -> list[PluginState]:
    """Return what the strip shows: the plugins in the order of the chain."""
    summaries = sorted(runtime.runtime_summaries(), key=lambda summary: -summary.priority)
    return [PluginState(summary.name, _state(summary), summary.reason) for summary in summaries]


def _state(summary: PluginSummary) -> str:
    if summary.desired == "stopped":
        return "stopped"
    if summary.status == PluginStatus.RUNNING and summary.breaker == "closed":
        return "running"
    return "starting" if summary.substate in STARTING else "down"
