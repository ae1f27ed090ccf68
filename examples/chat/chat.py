"""What the chat does with each thing that a client sends."""

from __future__ import annotations

import msgspec

from vconnect import PluginRuntimeManager

from .client import Client
from .embedding import RefusedError, offer_post, pass_plugins, plugin_states
from .protocol import (
    BadNameError,
    FromClient,
    Hello,
    Join,
    Message,
    Notice,
    Plugins,
    Refused,
    Say,
    SomebodyTypes,
    Typing,
    User,
    Welcome,
    clean_name,
    new_id,
    now,
)
from .rooms import House


class UnexpectedError(Exception):
    """A frame that ends the connection; the text says why."""


class Chat:
    """The people, the rooms and the plugins."""

    def __init__(self, runtime: PluginRuntimeManager, dashboard: str = "") -> None:
        self._runtime = runtime
        self._house = House()
        self._strip = Plugins([], dashboard)
        offer_post(runtime, self._post)

    async def receive(self, client: Client, frame: FromClient) -> None:
        """Do what a client asks.

        Raises:
            UnexpectedError: It may not ask that now.
        """
        is_new = not client.user.uid
        match frame:
            case Hello() if is_new:
                self._greet(client, frame)
            case _ if is_new:
                raise UnexpectedError("the first frame is a hello")
            case Say():
                await self._say(client, frame)
            case Join():
                self._join(client, frame)
            case Typing():
                self._type(client, on=frame.on)
            case _:
                raise UnexpectedError("a second hello")

    def refuse(self, client: Client, frame: FromClient, code: str, why: str) -> None:
        """Tell a client that something was not done."""
        nonce = frame.nonce if isinstance(frame, Say) else ""
        client.send(Refused(nonce, code, why))

    def leave(self, client: Client) -> None:
        """Forget a client whose connection has ended."""
        if client.user.uid:
            self._house.leave(client)
            self._notify("user.offline", client.user)

    def show_plugins(self) -> None:
        """Tell everybody the states of the plugins, if one has changed."""
        states = plugin_states(self._runtime)
        if states != self._strip.plugins:
            self._strip.plugins = states
            self._house.tell_all(self._strip)

    def say_goodbye(self) -> None:
        """Tell everybody that the server ends."""
        self._house.tell_all(Notice("The server was stopped."))

    def _greet(self, client: Client, hello: Hello) -> None:
        try:
            name = self._house.free_name(clean_name(hello.name))
        except BadNameError as error:
            client.send(Refused("", "bad_name", str(error)))
            return
        client.user = User(uid=f"u-{new_id()}", name=name)
        client.send(Welcome(client.user.uid, name, self._house.sizes()))
        client.send(self._strip)
        self._house.enter(client, self._house.rooms.get(hello.room, self._house.first))
        self._notify("user.online", client.user)

    def _join(self, client: Client, join: Join) -> None:
        room = self._house.rooms.get(join.room)
        if room is None:
            client.send(Refused("", "unknown_room", f"there is no room {join.room!r}"))
        elif room is not self._house.room_of(client):
            self._type(client, on=False)
            self._house.enter(client, room)

    def _type(self, client: Client, *, on: bool) -> None:
        types = SomebodyTypes(client.user.uid, client.user.name, on)
        self._house.room_of(client).tell(types, but=client.user.uid)

    async def _say(self, client: Client, say: Say) -> None:
        try:
            await self._publish(client.user, say.room, say.text, client, say.nonce)
        except RefusedError as error:
            self.refuse(client, say, error.code, error.message)
            self.show_plugins()  # one of them may have just gone

    async def _post(self, bot: str, room: str, text: str) -> Message:
        return await self._publish(User(uid=f"bot:{bot}", name=bot), room, text)

    async def _publish(
        self, sender: User, to: str, text: str, client: Client | None = None, nonce: str = ""
    ) -> Message:
        """Send a message through the plugins, and what they leave of it to everybody in the room.

        Raises:
            RefusedError: It goes to nobody.
        """
        room = self._house.rooms.get(to)
        if room is None:
            raise RefusedError("unknown_room", f"there is no room {to!r}")
        if not text.strip():
            raise RefusedError("empty", "there is nothing to read in it")
        draft = Message(new_id(), to, sender, text, now(), bot=client is None)
        message = await pass_plugins(self._runtime, draft)
        room.keep(message)
        room.tell(message, but=sender.uid)
        if client is not None:
            client.send(_with_nonce(message, nonce))
        return message

    def _notify(self, event: str, user: User) -> None:
        self._runtime.notify(event, {"uid": user.uid, "name": user.name})


def _with_nonce(message: Message, nonce: str) -> Message:
    """Return the copy for its sender, who knows the message by its nonce."""
    return msgspec.structs.replace(message, nonce=nonce)
