"""Values as JSON, whatever plugins have put into them."""

from __future__ import annotations

import json

import pytest
from tests.support.fake_manager import plugin_summary

from vconnect.logs.records import LogRecord
from vconnect.seeing.encoding import encode


def test_structs_become_objects_and_fields_stay_as_they_are() -> None:
    record = LogRecord(1, 2.0, "stdout", "info", "hi", b'{"n":1}')
    told = json.loads(encode({"record": record, "plugin": plugin_summary("a")}))
    assert told["record"]["fields"] == {"n": 1}
    assert told["plugin"]["name"] == "a"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("\udcff", "?"),
        ({"\udcff": "a\udc80b"}, {"?": "a?b"}),
        (1 << 70, str(1 << 70)),
        ([float("nan"), float("inf")], [None, None]),
        ("</script>", "</script>"),
    ],
)
def test_what_json_cannot_hold_is_told_in_words(value: object, told: object) -> None:
    assert json.loads(encode(value)) == told


def test_one_name_that_is_not_utf8_does_not_hide_the_others() -> None:
    told = json.loads(encode({"plugins": [plugin_summary("a\udcff"), plugin_summary("b")]}))
    assert [one["name"] for one in told["plugins"]] == ["a?", "b"]


def test_what_is_nested_too_deeply_ends_in_words() -> None:
    value: list = []
    for _ in range(300):
        value = [value]
    assert b"nested too deeply" in encode(value)


def test_what_is_no_value_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError):
        encode({"x": object()})
