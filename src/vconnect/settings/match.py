"""Conditions on a payload that decide whether a plugin is asked: ``match`` of its options."""

# A bot for `/help` must not be asked about every message. The conditions are compiled once into one
# function per plugin and event, which costs a dictionary lookup and a comparison per field.

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

Scalar = str | int | float | bool


class Condition(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"one_of": "in"}):
    """A condition on one field; everything that is given must hold.

    Attributes:
        prefix: The field is a text that begins with this.
        one_of: The field equals one of these; ``in`` in the file.
        present: Whether the field must be there.
    """

    prefix: str | msgspec.UnsetType = msgspec.UNSET
    one_of: tuple[Scalar, ...] | msgspec.UnsetType = msgspec.UNSET
    present: bool | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        if self.prefix is self.one_of is self.present is msgspec.UNSET:
            raise ValueError("expected prefix, in or present")


#: By field, which is a key of the payload or several with dots between them: a value that it must
#: equal, or a condition.
Match = dict[str, Scalar | Condition]

Matcher = Callable[[Any], bool]

# Others are turned into these on their way.
_PLAIN = frozenset({dict, list, str, int, float, bool, type(None)})


def compile_match(match: Mapping[str, Scalar | Condition]) -> Matcher | None:
    """Return a function that says whether a payload matches; ``None`` if every payload does.

    ``null`` is the same as no value.

    >>> is_for_help = compile_match({"content": Condition(prefix="/help")})
    >>> is_for_help({"content": "/help me"}), is_for_help({"content": 7}), is_for_help({})
    (True, False, False)
    """
    checks = [check for field, wanted in match.items() for check in _checks(field, wanted)]
    if not checks:
        return None
    if len(checks) == 1:
        return checks[0]
    return lambda payload: all(check(payload) for check in checks)


def _checks(field: str, wanted: Scalar | Condition) -> list[Matcher]:
    if not isinstance(wanted, Condition):
        return [_of_field(field, _equals(wanted))]
    tests: list[Callable[[Any], bool]] = []
    if isinstance(wanted.prefix, str):
        tests.append(_begins_with(wanted.prefix))
    if isinstance(wanted.one_of, tuple):
        tests.append(_is_one_of(wanted.one_of))
    if isinstance(wanted.present, bool):
        tests.append(_is_there if wanted.present else _is_missing)
    return [_of_field(field, test) for test in tests]


def _of_field(field: str, test: Callable[[Any], bool]) -> Matcher:
    key, *deeper = field.split(".")
    if deeper:
        return _of_path((key, *deeper), test)

    def matches(payload: Any) -> bool:
        # The usual payload, without a further call.
        if type(payload) is not dict:
            payload = _as_sent(payload)
            if type(payload) is not dict:
                return test(None)
        value = payload.get(key)
        return test(value if type(value) in _PLAIN else _as_sent(value))

    return matches


def _of_path(path: tuple[str, ...], test: Callable[[Any], bool]) -> Matcher:
    # Not for a path of one key as well: a loop costs each of the usual conditions 50 ns.
    def matches(value: Any) -> bool:
        for key in path:
            if type(value) is not dict:
                value = _as_sent(value)
                if type(value) is not dict:
                    return test(None)
            value = value.get(key)
        return test(value if type(value) in _PLAIN else _as_sent(value))

    return matches


def _as_sent(payload: Any) -> Any:
    """Return a value as plugins see it: a dataclass is an object, an enumeration its value."""
    if type(payload) in _PLAIN:
        return payload
    return orjson.loads(orjson.dumps(payload))


def _equals(wanted: Scalar) -> Callable[[Any], bool]:
    kinds = _kinds(wanted)
    return lambda value: type(value) in kinds and value == wanted


def _is_one_of(wanted: tuple[Scalar, ...]) -> Callable[[Any], bool]:
    # By type, because in JSON 1 is not true.
    allowed: dict[type, set[Scalar]] = {}
    for value in wanted:
        for kind in _kinds(value):
            allowed.setdefault(kind, set()).add(value)
    return lambda value: (values := allowed.get(type(value))) is not None and value in values


def _kinds(wanted: Scalar) -> tuple[type, ...]:
    # JSON does not tell 1 from 1.0.
    return (int, float) if type(wanted) in (int, float) else (type(wanted),)


def _begins_with(prefix: str) -> Callable[[Any], bool]:
    return lambda value: type(value) is str and value.startswith(prefix)


def _is_there(value: Any) -> bool:
    return value is not None


def _is_missing(value: Any) -> bool:
    return value is None
