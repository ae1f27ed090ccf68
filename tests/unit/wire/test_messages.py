"""Handshakes and answers beyond the wire's vectors."""

from __future__ import annotations

import json

import msgspec
import pytest

from vconnect.errors import HandshakeError
from vconnect.wire.messages import (
    Dialect,
    acknowledgment,
    event_prefixes,
    normalize_answer,
    parse_call,
    parse_handshake,
    protobuf_name,
    refusal,
    reply_error,
)


def refused(message: object) -> HandshakeError:
    with pytest.raises(HandshakeError) as caught:
        parse_handshake(message)
    return caught.value


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


def test_unknown_keys_are_ignored():
    assert parse_handshake({"name": "x", "future": {"a": 1}}).plugin == "x"


@pytest.mark.parametrize("message", [None, 1, "x", [], [{"name": "x"}], True])
def test_a_handshake_is_an_object(message):
    assert refused(message).code == "bad_handshake"


@pytest.mark.parametrize("message", [{}, {"name": None}, {"plugin_no": None, "name": None}])
def test_nameless(message):
    error = refused(message)
    assert error.code == "nameless"
    assert "plugin_no or name" in str(error)


@pytest.mark.parametrize("name", ["", "wk.plugin.", "v.plugin.", 7, [], {}, True])
@pytest.mark.parametrize("key", ["name", "plugin_no"])
def test_a_name_that_is_empty_or_no_string(key, name):
    error = refused({key: name})
    assert error.code == "bad_handshake"
    assert f"{key} is " in str(error)


def test_the_other_name_is_a_string_too():
    assert "name is 5; expected a string" in str(refused({"plugin_no": "a", "name": 5}))
    assert parse_handshake({"plugin_no": "a", "name": "b"}).plugin == "a"


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("version", "1" * 65, "version has 65 bytes; the limit is 64"),
        ("capabilities", ["x"] * 257, "capabilities has 257 entries; the limit is 256"),
        ("capabilities", ["x" * 256], "capabilities has an entry of 256 bytes"),
        ("concurrency", -1, "concurrency is -1"),
    ],
)
def test_what_is_too_much_is_refused(key, value, words):
    error = refused({"name": "x", key: value})
    assert error.code == "bad_handshake"
    assert words in str(error)


def test_reasons_are_kept_in_part():
    disable = parse_handshake({"name": "x", "disable": "x" * 1_000_000}).disable
    assert disable.endswith("… (1000000 bytes)")
    assert len(disable) < 1100
    answer = normalize_answer({"status": "error", "message": "y" * 5000, "code": "z" * 5000})
    error = reply_error("a", answer)
    assert len(str(error)) < 1100
    assert len(error.code) < 100


NULLS = dict.fromkeys(
    ["plugin_no", "version", "priority", "capabilities", "protocol_versions", "disable", "ready"]
)


def test_null_is_the_same_as_no_value():
    assert parse_handshake({"name": "x", **NULLS}) == parse_handshake({"name": "x"})
    call = {"call": "log", "id": 1}
    assert parse_call({**call, "params": None, "hops": None}) == parse_call(call)


@pytest.mark.parametrize("name", ["../x", ".x", "-x", "a/b", "a b", "a\n", "x" * 65, "ä", "a\0"])
def test_bad_names(name):
    error = refused({"name": name})
    assert error.code == "bad_name"
    assert "1 to 64 of the characters" in str(error)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 1),
        ("priority", True),
        ("priority", 1.0),
        ("priority", "1"),
        ("capabilities", "message"),
        ("capabilities", ["a", 1]),
        ("capabilities", {}),
        ("disable", True),
        ("protocol_versions", 1),
        ("protocol_versions", "1"),
        ("protocol_versions", [True]),
        ("protocol_versions", [1.0]),
        ("protocol_versions", {"1": 1}),
    ],
)
def test_fields_of_another_type(key, value):
    error = refused({"name": "x", key: value})
    assert error.code == "bad_handshake"
    assert str(error).startswith(f"{key} is ")
    assert "expected" in str(error)


@pytest.mark.parametrize("key", ["name", "priority", "capabilities", "protocol_versions"])
@pytest.mark.parametrize("value", ["\U000e0001" * 100_000, [7] * 10_000 + ["x"], deep(1000)])
def test_a_peer_does_not_decide_how_long_its_refusal_is(key, value):
    assert len(json.dumps(refusal(refused({"name": "x", key: value})))) < 4000


def test_the_highest_common_version_wins():
    message = {"name": "x", "protocol_versions": [3, 1, 2, 9]}
    shaken = parse_handshake(message, versions=(1, 2, 3))
    assert (shaken.protocol_version, shaken.dialect) == (3, Dialect.NATIVE)


@pytest.mark.parametrize("offered", [[], [2], [0, -1]])
def test_no_version_in_common_names_both_lists(offered):
    error = refused({"name": "x", "protocol_versions": offered})
    assert error.code == "version_mismatch"
    assert f"speaks {offered}, this host [1]" in str(error)


def test_no_versions_means_classic():
    shaken = parse_handshake({"name": "x", "protocol_versions": None})
    assert (shaken.dialect, shaken.protocol_version) == (Dialect.CLASSIC, None)


def test_what_the_host_says():
    assert acknowledgment({"a": 1}) == {"status": "ok", "config": {"a": 1}}
    error = HandshakeError("stranger", "who are you")
    assert refusal(error) == {"status": "error", "code": "stranger", "message": "who are you"}


@pytest.mark.parametrize("event", ["message.incoming", 'quo"te', "back\\slash", "grüße", ""])
def test_event_prefixes(event):
    classic, native = event_prefixes(event)
    assert json.loads(classic + b"null}") == {
        "event": event,
        "event_type": event,
        "payload": None,
    }
    assert json.loads(b"{" + native + b"null}") == {"event": event, "payload": None}


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        ({}, {"ok": True, "data": {}}),
        ({"status": "ok", "data": 0}, {"data": 0}),
        ({"status": "ok", "data": None, "more": 1}, {"data": None}),
        ({"status": "ok", "more": 1}, {"data": {"status": "ok", "more": 1}}),
        ({"status": "ok", "flow": "stop"}, {"data": None, "stop": True}),
        ({"status": "ok", "flow": "go"}, {"data": None, "stop": False}),
        ({"status": "ok", "payload": {"a": 1}}, {"data": None, "replacement": {"a": 1}}),
        ({"status": "ok", "payload": None}, {"replacement": msgspec.UNSET}),
        (
            {"status": "ok", "data": None, "flow": None, "payload": None},
            {"data": None, "stop": False, "replacement": msgspec.UNSET},
        ),
        ({"status": "error", "message": None, "code": None}, {"message": "", "code": ""}),
        ({"status": "ok", "id": 5}, {"data": {"status": "ok", "id": 5}}),
        ({"payload": 1}, {"data": {"payload": 1}, "replacement": msgspec.UNSET}),
        ({"flow": "stop", "payload": 1}, {"stop": True, "replacement": msgspec.UNSET}),
        ({"data": {"flow": "stop"}}, {"data": {"data": {"flow": "stop"}}, "stop": False}),
        ({"status": "ok", "data": ["flow", "stop"]}, {"stop": False}),
        ({"status": "error"}, {"ok": False, "message": "", "code": ""}),
        ({"status": "error", "code": "loop", "message": 7}, {"code": "loop", "message": "7"}),
        ({"status": "error", "flow": "stop"}, {"ok": False, "stop": True}),
        ({"status": ["ok"]}, {"ok": True, "data": {"status": ["ok"]}}),
        ({"status": None}, {"ok": True, "data": {"status": None}}),
    ],
)
def test_answers(message, fields):
    answer = normalize_answer(message)
    assert {key: getattr(answer, key) for key in fields} == fields


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\x0a\x0av.plugin.a\x12\x05", "a"),
        (b"\x0a\x01b", "b"),
        (b"\x0a\x05b", ""),  # cut off
        (b"\x0a\x00", ""),
        (b"\x0a", ""),
        (b"", ""),
        (b"\x12\x01b", ""),
        (b"\x0a\x03a/b", ""),
        (b"\x0a\x02\xc3\xa4", ""),
        (b"GET / HTTP/1.1", ""),
    ],
)
def test_a_protobuf_handshake_is_known_by_its_first_field(head, name):
    assert protobuf_name(head) == name
