"""The whole interface of one manager: its routes, its audit, its metrics."""

from __future__ import annotations

import socket

from vconnect.admin.http.audit import Audit
from vconnect.admin.http.orders import Orders
from vconnect.admin.http.table import Table
from vconnect.admin.manager import Manager
from vconnect.admin.routes.blobs import BlobRoutes
from vconnect.admin.routes.events import EventRoutes
from vconnect.admin.routes.host import HostRoutes
from vconnect.admin.routes.logs import LogRoutes
from vconnect.admin.routes.packages import PackageRoutes
from vconnect.admin.routes.page import PageRoutes
from vconnect.admin.routes.plugins import PluginRoutes
from vconnect.admin.routes.settings import SettingsRoutes
from vconnect.admin.routes.siblings import Siblings
from vconnect.admin.routes.stream import StreamRoute
from vconnect.admin.routes.trust import TrustRoutes
from vconnect.seeing.exposition import Exposition
from vconnect.version import host_version

from .application import Application


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
                *LogRoutes(manager, lambda: self.is_stopping).rows(),
                *EventRoutes(manager).rows(),
                *PackageRoutes(manager).rows(),
                *BlobRoutes(manager).rows(),
                *SettingsRoutes(manager).rows(),
                *TrustRoutes(manager).rows(),
                *self.orders.rows(),
                *stream.rows(),
                *PageRoutes().rows(),
            ]
        )
        self.host.table = self.table
        self.application = Application(self.table, audit, self.orders, exposition.count_request)
