"""Who may connect to a host, and which plugin a connection belongs to: the server's callbacks."""

from __future__ import annotations

from typing import Any

from vconnect.dispatch.host_calls import HostCalls
from vconnect.errors import HandshakeError
from vconnect.plugins.catalog import Catalog
from vconnect.plugins.registry import Registry
from vconnect.plugins.runtime import PluginRuntime
from vconnect.supervision.admission import check_external
from vconnect.supervision.instance import Instance
from vconnect.supervision.supervisor import Supervisor
from vconnect.wire.messages import Handshake
from vconnect.wire.server import Admission
from vconnect.wire.session import Peer, Session

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
        allow_external: Whether plugins that this host has not started may attach.
    """

    def __init__(
        self,
        registry: Registry,
        catalog: Catalog,
        roster: Roster,
        calls: HostCalls,
        *,
        allow_external: bool,
    ) -> None:
        self._registry = registry
        self._catalog = catalog
        self._roster = roster
        self._calls = calls
        self._allow_external = allow_external

    def owner(self, peer: Peer) -> Owner:
        """Return whose process connected, or ``None`` if this host has not started it."""
        # The kernel vouches for the PID; the handshake's own claims decide nothing here.
        return self._roster.owner(peer.pid)

    def admit(self, handshake: Handshake, peer: Peer, owner: Owner) -> Admission:
        """Decide about a handshake.

        Raises:
            HandshakeError: The process may not use this name, or not now.
        """
        plugin = self._registry.find(handshake.plugin)
        # A process of ours under another plugin's name is a mistake of its author, not an attack,
        # so the message says what to change.
        if owner is not None and owner[0].plugin is not plugin:
            raise HandshakeError(
                "stranger",
                f"it uses the name {handshake.plugin!r}, but was started as "
                f"{owner[0].plugin.name!r}; use the same name in both places",
            )
        if plugin is None:
            plugin = self._register_external(handshake, peer)
        instance = owner[1] if owner is not None else None
        return self._roster.of(plugin).admit(handshake, peer, instance)

    def attached(self, session: Session, owner: Owner) -> None:
        """Called when a session has been admitted and acknowledged."""
        plugin = self._registry.get(session.handshake.plugin)
        self._roster.of(plugin).attached(session, owner[1] if owner is not None else None)

    def detached(self, session: Session, error: Exception | None) -> None:
        """Called when a session has ended."""
        # First, because calls in progress would reply to a connection that has ended.
        self._calls.forget(session)
        # The plugin may have been uninstalled since the handshake, here and in `called`.
        plugin = self._registry.find(session.handshake.plugin)
        supervisor = self._roster.find(plugin.name) if plugin is not None else None
        if supervisor is not None:
            supervisor.detached(session, error)

    def called(self, session: Session, message: dict[str, Any]) -> None:
        """Called for each call of a native plugin."""
        plugin = self._registry.find(session.handshake.plugin)
        if plugin is not None:
            self._calls.accept(plugin, session, message)

    def refused(self, owner: Owner, error: HandshakeError) -> None:
        """Called when a connection has been refused."""
        if owner is not None:
            supervisor, instance = owner
            supervisor.refused(instance, error)

    def _register_external(self, handshake: Handshake, peer: Peer) -> PluginRuntime:
        check_external(handshake.plugin, peer, allowed=self._allow_external)
        return self._catalog.register_external(handshake.plugin)
