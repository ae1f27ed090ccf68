"""``HOST:PORT``, and the names by which it is reached."""

from __future__ import annotations

import pytest

from vconnect.admin.access.address import parse_address
from vconnect.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback", "shown"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080, True, "127.0.0.1"),
        ("127.8.9.1:0", "127.8.9.1", 0, True, "127.8.9.1"),
        ("localhost:1", "localhost", 1, True, "localhost"),
        ("LOCALHOST:1", "LOCALHOST", 1, True, "LOCALHOST"),
        ("[::1]:65535", "::1", 65535, True, "[::1]"),
        ("0.0.0.0:80", "0.0.0.0", 80, False, "127.0.0.1"),
        ("[::]:80", "::", 80, False, "127.0.0.1"),
        ("192.168.0.1:80", "192.168.0.1", 80, False, "192.168.0.1"),
        ("plugins.example:80", "plugins.example", 80, False, "plugins.example"),
        ("localhost.evil.test:80", "localhost.evil.test", 80, False, "localhost.evil.test"),
    ],
)
def test_an_address_has_a_host_and_a_port(
    text: str, host: str, port: int, is_loopback: bool, shown: str
) -> None:
    address = parse_address(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, is_loopback)
    assert address.shown_host == shown
    assert str(address) == text
    assert {"localhost", "127.0.0.1", "[::1]"} <= set(address.names)
    is_everywhere = host in ("0.0.0.0", "::")
    assert (text.rpartition(":")[0].lower() in address.names) != is_everywhere


@pytest.mark.parametrize(
    "text",
    [
        *("", "8080", ":8080", "[]:1", "localhost", "localhost:", "localhost:x", "::1:80"),
        *("localhost:65536", "localhost:-1", "localhost:999999999999", "localhost:²"),
    ],
)
def test_what_is_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match=r"127\.0\.0\.1:8080"):
        parse_address(text)
