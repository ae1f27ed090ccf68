"""Secret keys with a password."""

from __future__ import annotations

import msgspec
import pytest

from vconnect.errors import SignatureError
from vconnect.trust import passwords as module
from vconnect.trust.minisign import SecretKey
from vconnect.trust.passwords import seal, unseal

KEY = SecretKey(b"n" * 8, b"s" * 32, b"p" * 32)


@pytest.fixture
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_OPERATIONS", 1 << 15)
    monkeypatch.setattr(module, "_MEMORY", 1 << 20)


def test_without_a_password_it_is_left_as_it_is() -> None:
    file = seal(KEY)
    assert not file.is_encrypted
    assert unseal(file) == KEY


@pytest.mark.parametrize("password", ["x", "pässwörd", "x" * 1000])
def test_with_the_password_it_comes_back(cheap: None, password: str) -> None:
    file = seal(KEY, password)
    assert file.is_encrypted
    assert KEY.seed not in file.sealed
    assert unseal(file, password) == KEY
    assert seal(KEY, password).sealed != file.sealed  # another salt


def test_the_usual_cost_is_that_of_scrypt_with_128_mib() -> None:
    assert module._costs(module._OPERATIONS, module._MEMORY) == (1 << 17, 1)
    file = seal(KEY, "x")
    assert unseal(file, "x") == KEY


@pytest.mark.parametrize(
    ("operations", "memory", "costs"),
    [
        (33_554_432, 1_073_741_824, (1 << 20, 1)),  # minisign's own
        (524_288, 16_777_216, (1 << 14, 1)),  # libsodium's "interactive"
        (0, 1 << 24, (1 << 10, 1)),
        (1 << 25, 1 << 20, (1 << 10, 1024)),
    ],
)
def test_the_costs_are_derived_as_libsodium_does(operations, memory, costs) -> None:
    assert module._costs(operations, memory) == costs


def test_a_wrong_password_is_said(cheap: None) -> None:
    with pytest.raises(SignatureError, match="the password is wrong"):
        unseal(seal(KEY, "x"), "y")


def test_a_missing_password_is_said(cheap: None) -> None:
    with pytest.raises(SignatureError, match=r"^my\.key needs a password"):
        unseal(seal(KEY, "x"), where="my.key")


@pytest.mark.parametrize(
    ("operations", "memory"), [(1 << 40, 1 << 34), (1 << 40, 1 << 20), (1 << 63, 1 << 63)]
)
def test_a_file_that_asks_for_too_much_is_refused(cheap: None, operations, memory) -> None:
    file = msgspec.structs.replace(seal(KEY, "x"), operations=operations, memory=memory)
    with pytest.raises(SignatureError, match="the limits are 1024 and 16"):
        unseal(file, "x")
