"""The host's end of the administration interface: a private socket, and a TCP port if asked."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Handler

from vconnect.admin.access.address import HttpAddress, parse_address
from vconnect.admin.access.guard import Identifies, TcpIdentity, checked_names
from vconnect.admin.access.tokens import Access, keep_token, read_token
from vconnect.admin.http.asked import Asked, Role, Via, Who
from vconnect.admin.http.problems import KINDS, Problem
from vconnect.admin.manager import Manager
from vconnect.admin.routes.siblings import ROLE_HEADER, SUFFIX
from vconnect.descriptors import keep_from_children
from vconnect.errors import ConfigError, SocketError
from vconnect.seeing.encoding import encode
from vconnect.settings.paths import expand_home
from vconnect.sockets.acceptor import Acceptor
from vconnect.sockets.credentials import peer_of, user_in_words
from vconnect.sockets.listener import Listener
from vconnect.sockets.private_socket import PrivateSocket, bind_private_socket, sweep_sockets
from vconnect.threads import in_thread

from .administration import Administration
from .face import aiohttp_application

_log = logging.getLogger(__name__)

# Seconds for open requests, such as a stop that waits for a plugin's grace period. The manager
# completes it anyway, so its connection need not stay open.
_CLOSE_TIMEOUT = 0.5
# Seconds from a connection to its first request, or half a request would keep it for ever.
_REQUEST_TIMEOUT = 10.0
# Seconds from a request to the next one on the same connection, of which half may have come.
_IDLE_TIMEOUT = 60.0
# Connections over TCP, where others than the host's user can connect.
_MAX_CONNECTIONS = 256
# Of a client's mistake, in the log.
_SHOWN_CHARS = 200
# The hosts that clients send for a Unix socket. A page that reaches it through a proxy would send
# the proxy's name.
_SOCKET_HOSTS = ("localhost", "vconnect", "127.0.0.1", "[::1]")
_LINE_BYTES = 8190


class AdminServer:
    """Serves the administration interface of one manager.

    It installs no signal handlers. A client that disconnects cancels nothing: its request is still
    carried out.

    Args:
        runtime: The manager, already open.
        socket: The path of a private Unix socket; ``None`` for none. A directory takes
            ``NAME-PID.admin.sock``, for one of several workers.
        http: ``HOST:PORT`` to listen on; ``None`` for no TCP. Port 0 takes a free one.
        token_file: A file with the token of the role ``operate``, mode 0600. On loopback it is
            made, beside the socket, if it is not given; elsewhere it must be given.
        view_token_file: Likewise for the role ``view``, which is left out if it is not given.
        no_token: Serve TCP without a token; only on loopback.
        hosts: Further names that the Host header may have, such as a proxy's.
        name: What the host is called; by default the machine's name.

    Attributes:
        administration: The routes, for a server of another kind.
    """

    def __init__(
        self,
        runtime: Manager,
        socket: str | Path | None = None,
        *,
        http: str | None = None,
        token_file: str | Path | None = None,
        view_token_file: str | Path | None = None,
        no_token: bool = False,
        hosts: tuple[str, ...] = (),
        name: str = "",
    ) -> None:
        self._manager = runtime
        self._path = socket
        self._address = None if http is None else parse_address(http)
        self._token_file = token_file
        self._view_token_file = view_token_file
        self._no_token = no_token
        self._hosts = hosts
        self.administration = Administration(runtime, name)
        self.administration.host.new_login_url = lambda: self.login_url
        self._socket: PrivateSocket | None = None
        self._runners: list[web.AppRunner] = []
        self._listener: Listener | None = None
        self._port: int | None = None
        self._access: Access | None = None
        # Connections that have not sent a request. aiohttp has no deadline for the first one.
        self._silent: set[web.RequestHandler] = set()

    async def start(self) -> None:
        """Bind the socket and the port, and start serving.

        Raises:
            SocketError: One cannot be bound, or another host holds it.
            ConfigError: The address is not loopback and there is no token, or a token file is not
                private.
        """
        self.administration.is_stopping = False
        try:
            if self._path is not None:
                await self._start_socket(self._path)
            if self._address is not None:
                await self._start_tcp(self._address)
        # Also on a cancellation: the socket's lock must not outlive a start that failed.
        except BaseException:
            await self.stop()
            raise
        keep_from_children(self)

    @property
    def login_url(self) -> str | None:
        """An address of the page that logs in once, within a minute; ``None`` without TCP."""
        url = self.url
        if url is None or self._access is None:
            return url
        return f"{url}#/login/{self._access.new_code()}"

    @property
    def url(self) -> str | None:
        """The address of the page; ``None`` without TCP."""
        if self._port is None or self._address is None:
            return None
        return f"http://{self._address.shown_host}:{self._port}/"

    async def _start_socket(self, path: str | Path) -> None:
        place = Path(expand_home(path))
        if place.is_dir():  # noqa: ASYNC240 - one look, at the start
            await in_thread(None, sweep_sockets, place, SUFFIX)  # of workers that were killed
            word = re.sub(r"[^A-Za-z0-9_.-]", "-", self.administration.name)
            place = place / f"{word}-{os.getpid()}{SUFFIX}"
        self._socket = bind_private_socket(place)
        self.administration.siblings.own = Path(self._socket.path)
        runner = await self._runner("socket", self._identify_peer, _SOCKET_HOSTS + self._hosts)

        def listen(bound: socket.socket) -> Acceptor:
            return Acceptor(
                bound,
                lambda: self._new_connection(runner),
                _unavailable,
                "the administration socket",
            )

        self._listener = Listener(self._socket, listen)
        _log.info("administration socket listening on %s", self._socket.path)

    async def _start_tcp(self, address: HttpAddress) -> None:
        identify = await self._identity_of(address)
        further = checked_names((*self._hosts, *self._manager.settings.http_hosts))
        runner = await self._runner("tcp", lambda _: identify, (*address.names, *further))
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(
                lambda: self._new_tcp_connection(runner), address.host, address.port
            )
        except OSError as error:
            raise SocketError(
                f"cannot listen on {address}: {error.strerror or error}; choose another port with "
                "--http"
            ) from None
        self._tcp = server
        self._port = server.sockets[0].getsockname()[1]
        if isinstance(identify, TcpIdentity):
            identify.cookie = f"vconnect_{self._port}"
            self.administration.host.identity = identify
        _log.info("administration page on %s", self.url)
        if not address.is_loopback and not self._manager.settings.behind_proxy:
            _log.warning(
                "the administration page on %s is not encrypted: everybody between can read the "
                "token; put a proxy with TLS in front, and set behind_proxy",
                address,
            )

    _tcp: asyncio.Server | None = None

    async def _identity_of(self, address: HttpAddress) -> Identifies:
        """Return what knows senders over TCP.

        Raises:
            ConfigError: There must be a token, and there is none.
        """
        if self._no_token:
            if not address.is_loopback:
                raise ConfigError(
                    f"--http-no-token is only for loopback, and {address} is not; give a "
                    "--http-token-file"
                )
            _log.warning("every user of this machine can administer this host: it has no token")
            return _everybody
        if self._token_file is None and not address.is_loopback:
            raise ConfigError(
                f"{address} can be reached by others, so it needs a token; give a file that only "
                "this user can read: --http-token-file FILE"
            )
        tokens: dict[Role, str] = {}
        if self._token_file is not None:
            tokens["operate"] = await in_thread(None, read_token, expand_home(self._token_file))
        else:
            own = self._own_token_file()
            tokens["operate"] = await in_thread(None, keep_token, own)
            _log.info("the token for it is in %s", own)
        if self._view_token_file is not None:
            tokens["view"] = await in_thread(None, read_token, expand_home(self._view_token_file))
        self._access = Access(tokens)
        return TcpIdentity(self._access, "vconnect")

    def _own_token_file(self) -> Path:
        directory = (
            Path(self._socket.path).parent
            if self._socket is not None
            else self._manager.settings.state_directory
        )
        return directory / "admin.token"

    async def _runner(
        self,
        via: Via,
        identify: Callable[[web.Request], Identifies],
        hosts: tuple[str, ...],
    ) -> web.AppRunner:
        app = aiohttp_application(
            self.administration.application,
            via,
            identify,
            hosts,
            self._manager.settings.max_frame_bytes,
        )
        app.middlewares.append(self._note_request)
        runner = web.AppRunner(
            app,
            # The host has its own signal handlers.
            handle_signals=False,
            # A client that disconnects must not leave a stop or an installation half done.
            handler_cancellation=False,
            # Nothing to log: changes are in the audit.
            access_log=None,
            logger=_http_log(),
            shutdown_timeout=_CLOSE_TIMEOUT,
            # What is left unread of a body may have no end.
            lingering_time=0,
            # One that is packed is refused, and need not be unpacked for that.
            auto_decompress=False,
            keepalive_timeout=_IDLE_TIMEOUT,
            max_line_size=_LINE_BYTES,
        )
        self._runners.append(runner)
        await runner.setup()
        return runner

    def _new_connection(self, runner: web.AppRunner) -> asyncio.BaseProtocol:
        assert runner.server is not None, "set up by `start`"
        connection = runner.server()
        self._silent.add(connection)
        asyncio.get_running_loop().call_later(_REQUEST_TIMEOUT, self._expire, connection)
        return connection

    def _new_tcp_connection(self, runner: web.AppRunner) -> asyncio.BaseProtocol:
        assert runner.server is not None, "set up by `start`"
        count = len(runner.server.connections)
        if count < _MAX_CONNECTIONS:
            return self._new_connection(runner)
        return _Refusal(f"{count} connections are open already; the limit is that")

    def _expire(self, connection: web.RequestHandler) -> None:
        """Close a connection that has not sent a whole request."""
        if connection in self._silent:
            self._silent.discard(connection)
            connection.force_close()

    @web.middleware
    async def _note_request(
        self,
        request: web.Request,
        handler: Handler,
    ) -> web.StreamResponse:
        self._silent.discard(request.protocol)
        return await handler(request)

    def _identify_peer(self, request: web.Request) -> Identifies:
        """Return what knows the sender by the kernel's word."""

        def identify(asked: Asked) -> Who | None:
            try:
                peer = peer_of(request.transport) if request.transport is not None else None
                is_confined = peer is not None and self._manager.is_confined(peer.pid)
            # The process has ended, or no descriptor is left to look at it.
            except OSError as error:
                raise Problem(
                    "overloaded", f"cannot tell which process asks: {error.strerror}"
                ) from None
            if is_confined:
                raise Problem("confined", "a plugin in a sandbox may not administer its host")
            name = user_in_words(peer.uid) if peer is not None else "somebody who has gone"
            # A host beside this one passes the role on of whoever has asked it.
            is_lowered = asked.headers.get(ROLE_HEADER) == "view"
            return Who(name, "view" if is_lowered else "operate", "socket")

        return identify

    def descriptors(self) -> list[int]:
        """Return those of its connections, which forked children must not hold."""
        found: list[int] = []
        for runner in self._runners:
            connections = runner.server.connections if runner.server is not None else []
            transports = [one.transport for one in connections if one.transport is not None]
            sockets = [one.get_extra_info("socket") for one in transports]
            found += [one.fileno() for one in sockets if one is not None and one.fileno() >= 0]
        if self._tcp is not None:
            found += [one.fileno() for one in self._tcp.sockets]
        return found

    async def stop(self) -> None:
        """Stop listening, close every connection and unlink the socket. May be called twice."""
        self.administration.is_stopping = True
        self.administration.stream.end()
        listener, self._listener = self._listener, None
        server, self._tcp = self._tcp, None
        runners, self._runners = self._runners, []
        private, self._socket = self._socket, None
        self._port = None
        if listener is not None:
            await listener.close()
        if server is not None:
            server.close()
        try:
            for runner in runners:
                await runner.cleanup()
        finally:
            await self.administration.orders.close()
            await self._manager.feed.close()
            if private is not None:
                private.close()


class _Refusal(asyncio.Protocol):
    """A connection that is told why it cannot stay."""

    def __init__(self, words: str) -> None:
        self._words = words

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and close it."""
        assert isinstance(transport, asyncio.WriteTransport), "it is of a server over TCP"
        transport.write(_unavailable(self._words))
        transport.close()


def _everybody(_: Asked) -> Who:
    return Who("anybody on this machine", "operate", "tcp")


def _http_log() -> logging.Logger:
    """Return the log of the HTTP server, in which a bad request is one line."""
    log = logging.getLogger(f"{__name__}.http")
    if not log.filters:
        log.addFilter(_shorten)
    return log


def _shorten(record: logging.LogRecord) -> bool:
    """Leave out the traceback of what a client did wrong: it is not our mistake."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, HttpProcessingError):
        record.exc_info = None
        record.levelno, record.levelname = logging.INFO, "INFO"
        record.msg, record.args = "bad request: %s", (error.message[:_SHOWN_CHARS],)
    return True


def _unavailable(words: str) -> bytes:
    """Encode an answer for a connection on which no request is read."""
    kind = KINDS["overloaded"]
    body = encode(
        {
            "type": "about:blank",
            "title": kind.title,
            "status": int(kind.status),
            "code": "overloaded",
            "detail": words,
            "next": kind.next,
            "error": {"code": "overloaded", "message": words},
        }
    )
    status = HTTPStatus.SERVICE_UNAVAILABLE
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/problem+json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 5\r\nCache-Control: no-store\r\n"
        "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
