"""Who may connect to a host, and which plugin a connection belongs to: the server's callbacks."""

from __future__ import annotations

from vconnect.dispatch.host_calls import HostCalls
from vconnect.errors import HandshakeError
from vconnect.names import NAME_RULE, may_be_named
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.plugins.status import Substate
from vconnect.processes.peer import is_still
from vconnect.sockets.credentials import Peer
from vconnect.supervision.admission import check_external
from vconnect.supervision.instance import Instance
from vconnect.supervision.reconnects import TOO_OFTEN, Reconnects
from vconnect.supervision.supervisor import Supervisor
from vconnect.watching.loop_watch import LoopWatch
from vconnect.wire.messages import Handshake
from vconnect.wire.server import Admission
from vconnect.wire.session import Session

from .roster import Roster

#: The supervisor and instance of a process that connected; ``None`` if this host did not start it.
Owner = tuple[Supervisor, Instance] | None


class HostGatekeeper:
    """Passes the server's events on to the plugin's supervisor. See `wire.server.Gatekeeper`.

    Args:
        registry: The plugins by name.
        catalog: Registers plugins that attach on their own.
        roster: The supervisors.
        calls: Serves the calls of native plugins.
        loop_watch: Is told of what holds the event loop.
        allow_external: Whether plugins that this host has not started may attach.

    Attributes:
        allow_external: The same; it may be changed.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: Catalog,
        roster: Roster,
        calls: HostCalls,
        *,
        loop_watch: LoopWatch,
        allow_external: bool,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._roster = roster
        self._calls = calls
        self._loop_watch = loop_watch
        self.allow_external = allow_external
        self._reconnects = Reconnects()
        # By session and not by name: a plugin may be uninstalled or renamed while it is connected.
        self._supervisors: dict[Session, Supervisor] = {}
        calls.on_slow = self.served_slowly

    def owner(self, peer: Peer) -> Owner:
        """Return whose process connected, or ``None`` if this host has not started it."""
        # The kernel vouches for the process; the handshake's own claims decide nothing here. If it
        # has ended, its PID may be that of another plugin now.
        return self._roster.owner(peer.pid) if is_still(peer) else None

    def knocked(self, peer: Peer) -> None:
        """Called when a process has connected, before it has sent anything."""
        try:
            owner = self.owner(peer)
        except OSError:
            return  # it has ended, or nothing can be read now; its handshake will tell
        if owner is not None:
            owner[1].has_knocked = True

    def admit(self, handshake: Handshake, peer: Peer, owner: Owner) -> Admission:
        """Decide about a handshake.

        Raises:
            HandshakeError: The process may not use this name, or not now.
        """
        if owner is not None:
            supervisor, instance = owner
            self._check_name(handshake, supervisor.plugin, instance)
            return supervisor.admit(handshake, peer, instance)
        if not is_still(peer):
            raise HandshakeError(
                "stranger",
                f"the process that connected (PID {peer.pid}) has ended; connect from the process "
                "that serves",
            )
        plugin = self._registry.find(handshake.plugin)
        if plugin is None:
            plugin = self._register_external(handshake, peer)
        admission = self._roster.of(plugin).admit(handshake, peer, None)
        # This host cannot end its process, so it refuses the connection.
        if not self._reconnects.allow(plugin):
            raise HandshakeError("overloaded", f"{TOO_OFTEN}; let it wait before the next")
        return admission

    def attached(self, session: Session, owner: Owner) -> None:
        """Called when a session has been admitted and acknowledged."""
        if owner is not None:
            supervisor, instance = owner
            if instance.process is not None:
                session.why_gone = instance.process.why_gone
        else:
            plugin = self._registry.get(session.handshake.plugin)
            supervisor, instance = self._roster.of(plugin), None
        self._supervisors[session] = supervisor
        supervisor.attached(session, instance)
        if instance is not None and not self._reconnects.allow(instance):
            supervisor.condemn(Substate.WATCHDOG, TOO_OFTEN)

    def became_ready(self, session: Session) -> None:
        """Called when a plugin says that it can serve."""
        if (supervisor := self._supervisors.get(session)) is not None:
            supervisor.became_ready(session)

    def detached(self, session: Session, error: Exception | None) -> None:
        """Called when a session has ended."""
        # First, because calls in progress would reply to a connection that has ended.
        self._calls.forget(session)
        if (supervisor := self._supervisors.pop(session, None)) is not None:
            supervisor.detached(session, error)

    def called(self, session: Session, payload: bytes) -> bool:
        """Called for each call of a native plugin; return whether it is accepted."""
        supervisor = self._supervisors.get(session)
        if supervisor is None:
            return False
        return self._calls.accept(supervisor.plugin, session, payload)

    def held_loop(self, session: Session, seconds: float) -> None:
        """Called if what a plugin sent has held the event loop for so long."""
        if (supervisor := self._supervisors.get(session)) is not None:
            self._loop_watch.blame(supervisor, seconds, "reading what it sent", is_its_own=True)

    def charged(self, session: Session, seconds: float) -> None:
        """Called for each long piece of unsolicited work that a plugin caused."""
        if (supervisor := self._supervisors.get(session)) is not None:
            self._loop_watch.note_work(supervisor, seconds)

    def served_slowly(self, session: Session, call: str, seconds: float) -> None:
        """Called if a call of a plugin has held the event loop for so long."""
        if (supervisor := self._supervisors.get(session)) is not None:
            is_own = self._calls.is_own(call)
            kind = "its call" if is_own else "the application's function for its call"
            self._loop_watch.blame(supervisor, seconds, f"{kind} {call}", is_its_own=is_own)

    def refused(self, owner: Owner, error: HandshakeError) -> None:
        """Called when a connection has been refused."""
        if owner is not None:
            supervisor, instance = owner
            supervisor.refused(instance, error)

    def _check_name(self, handshake: Handshake, plugin: PluginRuntime, instance: Instance) -> None:
        """Refuse a process of ours that uses another plugin's name."""
        names = plugin.aliases()
        # A new version may have another name beside the plugin's own; see `Launcher.adopt`.
        if instance.manifest is not None:
            names |= instance.manifest.names
        claimed = self._registry.find(handshake.plugin)
        if claimed is plugin or (claimed is None and handshake.plugin in names):
            return
        # A mistake of its author, not an attack, so the message says what to change.
        if owners := self._registry.claimants(handshake.plugin, besides=plugin):
            raise HandshakeError(
                "stranger",
                f"it uses the name {handshake.plugin!r}, but was started as {plugin.name!r}, and "
                f"{owners} has that name too; give each a name and a plugin_no of its own",
            )
        raise HandshakeError(
            "stranger",
            f"it uses the name {handshake.plugin!r}, but was started as {plugin.name!r}; "
            "use the same name in both places",
        )

    def _register_external(self, handshake: Handshake, peer: Peer) -> PluginRuntime:
        check_external(handshake.plugin, peer, allowed=self.allow_external)
        if not may_be_named(handshake.plugin):
            raise HandshakeError("bad_name", f"{handshake.plugin!r} is two names; {NAME_RULE}")
        # Before it is registered: who cannot serve is not remembered.
        if handshake.disable:
            raise HandshakeError("disabled", handshake.disable)
        plugin = self._catalog.register_external(handshake.plugin)
        self._roster.let_go(lambda known: self._registry.exact(known.name) is known)
        return plugin
