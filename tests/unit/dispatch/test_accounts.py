"""The accounts of pairs of plugins, with a clock in the test's hand."""

from __future__ import annotations

import gc

import pytest

from vconnect.dispatch.accounts import MAX_UNANSWERED, Account, Accounts
from vconnect.errors import HostCallError
from vconnect.plugins.runtime import PluginRuntime


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


def test_a_pair_has_one_account_as_long_as_its_plugins_live() -> None:
    a, b, c = (PluginRuntime(name, None) for name in "abc")
    accounts = Accounts()
    account = accounts.between(a, b)
    assert accounts.between(a, b) is account
    assert accounts.between(b, a) is not account is not accounts.between(a, c)
    del b
    gc.collect()
    assert list(accounts._of[a]) == [c]


def test_calls_count_until_they_are_answered() -> None:
    account = Account()
    for _ in range(MAX_UNANSWERED):
        account.check("b")
        account.enter()
    with pytest.raises(HostCallError, match=r"16 calls .* 16 are allowed") as caught:
        account.check("b")
    assert caught.value.code == "overloaded"
    account.leave()
    account.check("b")
