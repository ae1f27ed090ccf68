"""``HOST:PORT`` of ``--http``, and the names under which that is reached."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

from vconnect.bounds import cut
from vconnect.errors import ConfigError

_LOCAL = ("localhost", "127.0.0.1", "[::1]")
_EVERYWHERE = ("0.0.0.0", "::", "")  # noqa: S104 - what an operator may write


class HttpAddress(NamedTuple):
    """Where to listen.

    Attributes:
        host: The host, without brackets.
        port: The port; 0 for a free one.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self._bracketed}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def names(self) -> tuple[str, ...]:
        """The names that its Host header may have."""
        own = () if self.host in _EVERYWHERE else (self._bracketed.lower(),)
        return (*_LOCAL, *own)

    @property
    def shown_host(self) -> str:
        """The host to put into an address for a browser on this machine."""
        return "127.0.0.1" if self.host in _EVERYWHERE else self._bracketed

    @property
    def _bracketed(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_address(text: str) -> HttpAddress:
    """Parse ``HOST:PORT``.

    Raises:
        ConfigError: It is not that.

    >>> parse_address("127.0.0.1:8080").is_loopback, str(parse_address("[::1]:0"))
    (True, '[::1]:0')
    """
    host, mark, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    is_number = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) < 1 << 16
    if not mark or not is_number or (":" in bare and not host.startswith("[")) or not bare:
        raise ConfigError(
            f"http: got {cut(text)!r}; expected HOST:PORT, such as 127.0.0.1:8080 or [::1]:0"
        )
    return HttpAddress(bare, int(port))
