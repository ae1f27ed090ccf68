"""How far away an address is."""

import pytest

from vconnect.packages.fetching.addresses import Reach, reach_of


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("127.255.255.255", Reach.LOOPBACK),
        ("::ffff:127.0.0.1", Reach.LOOPBACK),
        ("169.254.0.1", Reach.FORBIDDEN),
        ("fe80::1%eth0", Reach.FORBIDDEN),
        ("ff02::1", Reach.FORBIDDEN),
        ("255.255.255.255", Reach.FORBIDDEN),
        ("::127.0.0.1", Reach.FORBIDDEN),
        ("172.16.0.1", Reach.PRIVATE),
        ("172.32.0.1", Reach.PUBLIC),
        ("100.127.255.255", Reach.PRIVATE),
        ("fdff::1", Reach.PRIVATE),
        ("::ffff:8.8.8.8", Reach.PUBLIC),
        ("2001:4860:4860::8888", Reach.PUBLIC),
    ],
)
def test_how_far_away_an_address_is(address: str, reach: Reach) -> None:
    assert reach_of(address) is reach


def test_only_what_is_numeric_has_a_reach() -> None:
    with pytest.raises(ValueError, match="localhost"):
        reach_of("localhost")
