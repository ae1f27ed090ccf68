"""Fuzz what messages mean: whatever a peer sends, it is understood or refused in few words."""

from __future__ import annotations

import sys
from typing import Any

from vconnect._framing import encode_frame, parse_message
from vconnect.errors import HandshakeError, HostCallError, PayloadError, RemoteProtocolError
from vconnect.wire.messages import (
    claimed_name,
    encode_error,
    normalize_answer,
    parse_call,
    parse_handshake,
    refusal,
    reply_error,
)

_LONGEST_REFUSAL = 4000


def check(data: bytes) -> str:
    """Take ``data`` for a handshake, an answer and a call.

    Returns:
        What it is: ``handshake``, ``object``, ``json`` or an error's code.

    Raises:
        AssertionError: It is accepted and cannot be written again, or its refusal is too long.
    """
    try:
        message = parse_message(data)
    except RemoteProtocolError as error:
        _check_length(str(error))
        return error.code
    _check_writable(message)
    kind = _check_handshake(message)
    if isinstance(message, dict):
        _check_answer(message)
        _check_call(message)
    return kind


def _check_writable(message: Any) -> None:
    """What can be read can be written, and is read as the same again."""
    try:
        frame = encode_frame(message, 1 << 30)
    except PayloadError as error:
        raise AssertionError(f"read, and not writable: {error}") from error
    assert parse_message(frame[4:]) == message


def _check_handshake(message: Any) -> str:
    try:
        handshake = parse_handshake(message)
    except HandshakeError as error:
        _check_length(encode_frame(refusal(error)))
        claimed_name(message)
        return "object" if isinstance(message, dict) else "json"
    assert claimed_name(message) == handshake.plugin
    return "handshake"


def _check_answer(message: dict[str, Any]) -> None:
    answer = normalize_answer(message)
    if not answer.ok:
        _check_length(str(reply_error("x", answer)))


def _check_call(message: dict[str, Any]) -> None:
    try:
        parse_call(message)
    except HostCallError as error:
        _check_length(encode_error(1, error.code, str(error), 1 << 20))


def _check_length(refusal: str | bytes) -> None:
    assert len(refusal) < _LONGEST_REFUSAL, len(refusal)


def main() -> None:
    """Run until a crash, or for as long as the options of libFuzzer allow."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
