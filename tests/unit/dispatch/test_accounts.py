"""The accounts of pairs of plugins, with a clock in the test's hand."""

from __future__ import annotations

import pytest

from vconnect.dispatch.accounts import Account
from vconnect.errors import HostCallError


def test_an_overdrawn_account_refuses_until_it_is_even() -> None:
    now = [100.0]
    account = Account(lambda: now[0])
    account.check("b")
    account.pay(0.009)
    account.check("b")
    account.pay(0.101)
    with pytest.raises(HostCallError, match=r"answers of b .* possible in 2\.0 s") as caught:
        account.check("b")
    assert caught.value.code == "overloaded"
    now[0] += 1.9
    with pytest.raises(HostCallError):
        account.check("b")
    now[0] += 0.2
    account.check("b")


def test_it_saves_no_more_than_a_burst() -> None:
    now = [100.0]
    account = Account(lambda: now[0])
    now[0] += 1000
    account.pay(0.011)
    with pytest.raises(HostCallError):
        account.check("b")
