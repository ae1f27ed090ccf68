"""Which requests are carried out at all: hosts, origins, tokens, roles, content types."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TypeAlias, TypeVar, cast

from vconnect.admin.http.asked import JSON_TYPE, Asked, Role, Who
from vconnect.admin.http.problems import Problem
from vconnect.bounds import cut
from vconnect.errors import ConfigError

from .tokens import Access

_ROLES = (None, "view", "operate")
T = TypeVar("T")

CHANGES = ("POST", "PUT", "DELETE", "PATCH")
# What a page of this host itself sends, and what comes from no page at all.
_OWN_SITES = ("same-origin", "none")


#: What an application says of a request's sender: what they may do, and who they are for the audit.
#: ``None`` refuses them.
Said: TypeAlias = Role | tuple[Role, str] | None
#: Says who sends a request; ``None`` if nobody has said so. It raises `Problem` for a wrong word.
Identifies: TypeAlias = Callable[[Asked], Who | None]


def check_authorize(authorize: object, sender: str) -> None:
    """Check that an application gave a function that can be asked.

    Args:
        authorize: What it gave.
        sender: What the function gets: ``request`` or ``scope``.

    Raises:
        TypeError: It cannot be called.
    """
    if not callable(authorize):
        raise TypeError(
            f"authorize: expected a function that returns 'operate', 'view' or None for a {sender}"
        )


async def ask_application(
    authorize: Callable[[T], Said | Awaitable[Said]], sender: T
) -> Identifies:
    """Ask an application for the sender of a request; its function may be ``async``."""
    said = authorize(sender)
    return as_application_says(await said if isinstance(said, Awaitable) else said)


def as_application_says(said: object) -> Identifies:
    """Know a sender by the word of the application around the interface.

    Args:
        said: What its ``authorize`` has returned; of what is no `Said`, a request is an error.
    """

    def identify(_: Asked) -> Who | None:
        role, name = said if isinstance(said, tuple) and len(said) == 2 else (said, "")
        if role not in _ROLES or not isinstance(name, str):
            raise TypeError(
                f"authorize returned {said!r}; expected 'operate', 'view', one of them with a "
                "name, or None"
            )
        who = cut(name) or "the application"
        return None if role is None else Who(who, cast("Role", role), "application")

    return identify


def check_host(asked: Asked, hosts: Collection[str]) -> None:
    """Refuse a request that was sent to another name: a page that has rebound its own to us.

    Args:
        asked: The request.
        hosts: The names that this server has, in lower case, without ports.

    Raises:
        Problem: ``bad_host``.
    """
    host = asked.headers.get("host", "")
    if name_of(host) not in hosts:
        shown = ", ".join(sorted(hosts))
        raise Problem("bad_host", f"the Host header is {host!r}; expected one of: {shown}")


def checked_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return further names of this server, in lower case.

    Raises:
        ConfigError: One is no name, or has a scheme or a port, which no request would match.
    """
    for name in names:
        if not name or name_of(name) != name.lower():
            raise ConfigError(
                f"http_hosts: got {cut(name)!r}; expected a name without scheme, port or wildcard, "
                "such as chat.example"
            )
    return tuple(name.lower() for name in names)


def name_of(host: str) -> str:
    """Return the name in a Host header, without its port; empty if it is not one.

    >>> name_of("LocalHost:8080"), name_of("[::1]:80"), name_of("127.0.0.1:80@x"), name_of("a,b")
    ('localhost', '[::1]', '', '')
    """
    name, mark, port = host.rpartition(":")
    if not mark or name.endswith(":") or "]" in port:
        name, port = host, "0"
    is_address = name.startswith("[") and name.endswith("]")
    plain = name[1:-1].replace(":", "") if is_address else name
    if not port.isdigit() or not plain.replace(".", "").replace("-", "").replace("_", "").isalnum():
        return ""
    return name.lower()


def check_origin(asked: Asked) -> None:
    """Refuse a change that a page of another site has sent.

    Raises:
        Problem: ``bad_origin``, or ``cross_site``.
    """
    origin = asked.headers.get("origin")
    host = asked.headers.get("host", "").lower()
    if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
        raise Problem("bad_origin", f"the Origin is {origin!r}; expected that of {host!r}")
    site = asked.headers.get("sec-fetch-site")
    if site is not None and site not in _OWN_SITES:
        raise Problem("cross_site", f"Sec-Fetch-Site is {site!r}; expected same-origin")


def check_content_encoding(asked: Asked) -> None:
    """Refuse a body that is packed: unpacked, it may be a thousand times as large.

    Raises:
        Problem: ``media_type``.
    """
    got = asked.headers.get("content-encoding", "identity")
    if got.strip().lower() not in ("", "identity"):
        raise Problem(
            "media_type",
            f"the Content-Encoding is {cut(got)!r}; bodies are taken only as they are",
            next="send the body unpacked, without Content-Encoding",
        )


def check_content_type(asked: Asked, *, expected: str = JSON_TYPE) -> None:
    """Refuse a body that is not declared as what is expected, above all forms.

    A page can send a form to any address without being asked, but JSON only after a preflight
    request, which nobody answers.

    Raises:
        Problem: ``media_type``.
    """
    got = asked.headers.get("content-type")
    if got is not None and got.partition(";")[0].strip().lower() == expected:
        return
    has_body = asked.headers.get("content-length", "0") != "0" or (
        "transfer-encoding" in asked.headers
    )
    # A client that is no page may leave it out where there is nothing to send; some then say that
    # it is bytes.
    is_nothing = got in (None, "application/octet-stream") and not has_body
    if is_nothing and "origin" not in asked.headers:
        return
    raise Problem(
        "media_type",
        f"the content type is {got or 'none'!r}; expected {expected}",
        next=f"send Content-Type: {expected}",
    )


class TcpIdentity:
    """Knows senders over TCP by their token or their session.

    Args:
        access: The tokens and sessions.
        cookie: The name of the cookie.
    """

    def __init__(self, access: Access, cookie: str) -> None:
        self.access = access
        self.cookie = cookie

    def __call__(self, asked: Asked) -> Who | None:
        """Return who it is; see `Identifies`."""
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme:
            if scheme.lower() != "bearer" or not token.strip():
                raise Problem("bad_token", "the Authorization header is not: Bearer TOKEN")
            return self.access.by_token(token.strip(), asked.peer)
        secret = self.secret_in(asked)
        return None if secret is None else self.access.by_session(secret)

    def secret_in(self, asked: Asked) -> str | None:
        """Return the secret of the session that a request names; ``None`` without one."""
        # Other programs on this machine set cookies, too, and not all of them are well formed.
        for one in asked.headers.get("cookie", "").replace(",", ";").split(";"):
            name, _, value = one.strip().partition("=")
            if name == self.cookie:
                return value.strip('"')
        return None
