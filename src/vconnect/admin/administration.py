"""The whole interface of one manager: its routes, its audit, its metrics."""

from __future__ import annotations

import socket

from vconnect.seeing.exposition import Exposition
from vconnect.version import host_version

from .application import Application
from .audit import Audit
from .event_routes import EventRoutes
from .host_routes import HostRoutes
from .manager import Manager
from .orders import Orders
from .package_routes import PackageRoutes
from .page_routes import PageRoutes
from .plugin_routes import PluginRoutes
from .settings_routes import SettingsRoutes
from .siblings import Siblings
from .stream import StreamRoute
from .table import Table


class Administration:
    """What the servers of one manager share.

    Args:
        manager: The manager.
        name: The host's name; by default the machine's.

    Attributes:
        application: Answers requests.
        host: The routes of the host, which know of sessions.
        is_stopping: Whether the host is about to end.
        orders: What clients may ask for again.
        siblings: Other hosts beside this one.
        stream: Who follows.
    """

    def __init__(self, manager: Manager, name: str = "") -> None:
        self.manager = manager
        self.name = name or manager.settings.host_name or socket.gethostname()
        self.is_stopping = False
        audit = Audit()
        audit.on_record = manager.feed.audited
        exposition = Exposition(
            manager.registry,
            manager.overview,
            manager.loop_name,
            lambda: manager.settings.metrics_buckets == "coarse",
        )
        self.host = HostRoutes(manager, self.name, audit, exposition, lambda: self.is_stopping)
        self.orders = Orders()
        self.siblings = Siblings(self.host.describe)
        self.stream = stream = StreamRoute(manager, host_version(), self.host.describe)
        exposition.stream_clients = lambda: manager.feed.followers
        exposition.stream_dropped = stream.dropped
        self.table = Table(
            [
                *self.host.rows(),
                *self.siblings.rows(),
                *PluginRoutes(manager, self.name).rows(),
                *EventRoutes(manager).rows(),
                *PackageRoutes(manager).rows(),
                *SettingsRoutes(manager).rows(),
                *self.orders.rows(),
                *stream.rows(),
                *PageRoutes().rows(),
            ]
        )
        self.host.table = self.table
        self.application = Application(self.table, audit, self.orders, exposition.count_request)
