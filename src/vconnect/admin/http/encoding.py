"""Answers in JSON."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from vconnect.seeing.encoding import encode

from .asked import Reply


def json_reply(value: Any, status: int = HTTPStatus.OK) -> Reply:
    """Build an answer from ``value``, in which structs become objects."""
    return Reply(encode(value), status)
