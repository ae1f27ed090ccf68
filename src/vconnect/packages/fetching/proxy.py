"""The proxy of a download, from the environment, as other programs read it."""

# The rules are those of curl and of Python's urllib, since operators set these variables for all
# programs at once: lower case before upper case, the scheme's own variable before `all_proxy`, and
# `no_proxy` before both. This machine itself is never asked through a proxy.

from __future__ import annotations

import ipaddress
import os
import re
from base64 import b64encode
from collections.abc import Mapping

import msgspec
from yarl import URL

from vconnect.packages.source import is_loopback

_SCHEMES = ("http", "https")
# Names that never belong to the public network; the others may be those of anything.
_PRIVATE_SUFFIXES = (
    *(".local", ".localdomain", ".localhost", ".internal", ".intranet", ".private"),
    *(".corp", ".home", ".lan", ".home.arpa"),
)


class Proxy(msgspec.Struct, frozen=True):
    """A proxy that a variable of the environment names.

    Attributes:
        url: Its address, without credentials.
        headers: The headers for it, with the credentials.
        variable: The variable.
    """

    url: URL
    headers: dict[str, str]
    variable: str

    def __str__(self) -> str:
        return f"the proxy {self.url.host}:{self.url.port} of {self.variable}"


def proxy_for(url: URL, environ: Mapping[str, str] = os.environ) -> Proxy | None:
    """Return the proxy for a URL, or ``None`` if it is to be reached directly.

    It is that of ``https_proxy`` or ``http_proxy``, by the URL's scheme, or else of ``all_proxy``,
    in lower or upper case. ``no_proxy`` lists hosts without one, and this machine never has one.

    Raises:
        ValueError: The variable does not hold the address of a usable proxy.
    """
    host = url.host or ""
    if is_loopback(host):
        return None
    for key in (f"{url.scheme}_proxy", "all_proxy"):
        variable, text = _read(key, environ)
        if text:
            break
    else:
        return None
    _, exempt = _read("no_proxy", environ)
    if any(_covers(entry, host, url.port) for entry in re.split(r"[\s,]+", exempt)):
        return None
    return _parse(text, variable)


def is_private_name(host: str) -> bool:
    """Return whether a name that is not known here can only be one of a private network."""
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith(_PRIVATE_SUFFIXES)


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Return whether an entry of ``no_proxy`` is for a host.

    It is ``*``, a name (also for what is below it), an address or a network, or one with a port.
    """
    entry, host = entry.lower(), host.lower()
    if entry == "*":
        return True
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        pass  # one of them is a name
    name, _, number = entry.partition(":")
    name = name.removeprefix("*").lstrip(".")
    if not name or (number and number != str(port)):
        return False
    return host == name or host.endswith(f".{name}")


def _read(key: str, environ: Mapping[str, str]) -> tuple[str, str]:
    # Lower case first, as curl does. In a CGI program, HTTP_PROXY is a header of the request.
    for name in (key, key.upper()):
        text = environ.get(name, "").strip()
        if text and not (name == "HTTP_PROXY" and "REQUEST_METHOD" in environ):
            return name, text
    return key.upper(), ""


def _parse(text: str, variable: str) -> Proxy:
    # The text is not repeated in messages, because it may contain a password.
    expected = f"{variable} is not the address of a proxy; expected http://host:port"
    try:
        url = URL(text if "://" in text else f"http://{text}")
        host, port = url.host, url.port
    except ValueError:
        raise ValueError(expected) from None
    if url.scheme not in _SCHEMES:
        raise ValueError(
            f"{variable} names a {url.scheme}:// proxy, which is not supported; "
            "expected http://host:port"
        )
    if not host or port is None:
        raise ValueError(expected)
    headers = {}
    if url.user is not None:
        credentials = b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
        headers = {"Proxy-Authorization": f"Basic {credentials}"}
    return Proxy(URL.build(scheme=url.scheme, host=host, port=port), headers, variable)
