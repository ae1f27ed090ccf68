"""Values as JSON, whatever plugins have put into them."""

from __future__ import annotations

import json

import msgspec
import pytest

from vconnect.logs.records import LogRecord
from vconnect.plugins.status import PluginStatus
from vconnect.seeing.encoding import encode


class Named(msgspec.Struct):
    name: str
    values: tuple = ()


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, None),
        ({"a": [1, "ä"]}, {"a": [1, "ä"]}),
        (Named("a", (1, 2)), {"name": "a", "values": [1, 2]}),
        ([Named("a", (Named("b"),))], [{"name": "a", "values": [{"name": "b", "values": []}]}]),
        ({"status": PluginStatus.RUNNING}, {"status": "Running"}),
        (1 << 80, str(1 << 80)),
    ],
)
def test_structs_become_objects(value, sent):
    assert json.loads(encode(value)) == sent


@pytest.mark.parametrize("around", [lambda text: {"paths": [text]}, lambda text: {text: 1}, Named])
def test_text_that_is_not_unicode_makes_nothing_else_unavailable(around):
    assert "/p/?" in encode(around("/p/\udcff")).decode()


def test_what_is_nested_too_deeply_is_told():
    value: list = []
    for _ in range(2000):
        value = [value]
    assert b"nested too deeply" in encode(value)


def test_the_fields_of_a_record_are_put_in_as_they_are():
    record = LogRecord(1, 2.0, "stdout", "info", "text", b'{"n":1}')
    assert json.loads(encode(record))["fields"] == {"n": 1}
