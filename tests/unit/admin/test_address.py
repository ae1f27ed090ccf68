"""``HOST:PORT`` of ``--http``."""

from __future__ import annotations

import pytest

from vconnect.admin.address import parse_address
from vconnect.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "is_loopback", "name"),
    [
        ("127.0.0.1:80", True, "127.0.0.1"),
        ("localhost:0", True, "localhost"),
        ("[::1]:8080", True, "[::1]"),
        ("0.0.0.0:80", False, "localhost"),
        ("[::]:80", False, "localhost"),
        ("10.1.2.3:80", False, "10.1.2.3"),
        ("chat.example:65535", False, "chat.example"),
    ],
)
def test_an_address_knows_who_reaches_it_and_by_which_names(text, is_loopback, name):
    address = parse_address(text)
    assert address.is_loopback is is_loopback
    assert name in address.names
    assert str(address) == text


@pytest.mark.parametrize(
    "text", ["", "80", "127.0.0.1", ":80", "h:65536", "h:-1", "h:80x", "::1:80", "h:٣"]
)
def test_what_is_no_address_is_refused_with_an_example(text):
    with pytest.raises(ConfigError, match=r"such as 127\.0\.0\.1:8080"):
        parse_address(text)
