"""``plugin.json``: what is read, what is refused, and where it says the mistake is."""

from __future__ import annotations

import json

import pytest

from vconnect.errors import ManifestError
from vconnect.packages.manifest import (
    MAX_MANIFEST_BYTES,
    merge_config,
    parse_manifest,
    read_manifest,
    sift_manifest,
)


def parse(**fields):
    return parse_manifest(json.dumps({"name": "x", **fields}).encode(), "here")


def test_only_a_name():
    manifest = parse()
    assert (manifest.plugin, manifest.version, manifest.priority) == ("x", "", 0)
    assert (manifest.capabilities, manifest.config, manifest.dev.command) == ((), {}, ())
    assert manifest.raw == {"name": "x"}


def test_unknown_fields_are_kept():
    manifest = parse(future={"a": 1}, raw=7)
    assert manifest.raw == {"name": "x", "future": {"a": 1}, "raw": 7}


def test_all_that_it_knows():
    manifest = parse(
        name="wk.plugin.x", plugin_no="v.plugin.y", capabilities=["a"], priority=-1,
        config={"k": None}, entry="bin/x", dev={"command": ["npm", "start"], "new": 1},
        requires=["z"],
    )  # fmt: skip
    assert manifest.plugin == "x"
    assert manifest.dev.command == ("npm", "start")
    assert (manifest.config, manifest.entry, manifest.requires) == ({"k": None}, "bin/x", ("z",))


@pytest.mark.parametrize(
    ("text", "name", "must_be_ready", "versions"),
    [
        ("users", "users", True, None),
        ("wk.plugin.users", "users", True, None),
        ("cache:started", "cache", False, None),
        ("users >=1.2 <2", "users", True, ">=1.2 <2"),
        ("cache:started  ^1 ", "cache", False, "^1"),
    ],
)
def test_requirements(text, name, must_be_ready, versions):
    manifest = parse(requires=[text])
    assert manifest.requirements == {name: must_be_ready}
    ranges = {key: str(value) for key, value in manifest.required_versions.items()}
    assert ranges == ({name: versions} if versions else {})


@pytest.mark.parametrize("text", ["users >=", "users ^1 || ^2", "users >=latest", "a b c!"])
def test_what_is_no_range(text):
    with pytest.raises(ManifestError, match=r"here: requires has '.*': .*expected"):
        parse(requires=[text])


@pytest.mark.parametrize("name", ["", "wk.plugin.", "../x", "a/b", ".x", "x" * 65, "a\0"])
def test_names_that_break_the_rule(name):
    with pytest.raises(ManifestError, match=r"here: name is .*; expected 1 to 64"):
        parse(name=name)
    if name:
        with pytest.raises(ManifestError, match="here: plugin_no is"):
            parse(plugin_no=name)


@pytest.mark.parametrize("entry", ["/bin/sh", "../x", "a/../../x", "a\0b"])
def test_entries_that_lead_outside(entry):
    with pytest.raises(ManifestError, match=r"here: entry is .*inside the package"):
        parse(entry=entry)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"priority": "1"}, r"\$.priority: expected `int`, got `str`"),
        ({"priority": True}, r"\$.priority"),
        ({"capabilities": ["a", 1]}, r"\$.capabilities\[1\]: expected `str`, got `int`"),
        ({"config": []}, r"\$.config: expected `object`"),
        ({"dev": {"command": "npm"}}, r"\$.dev.command: expected `array`"),
        ({"name": None}, r"\$.name: expected `str`, got `null`"),
    ],
)
def test_fields_of_another_type(fields, words):
    with pytest.raises(ManifestError, match=f"here: {words}"):
        parse(**fields)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "here:1:1: expected JSON, got nothing"),
        (b"{", "here:1:2: the JSON ends too early"),
        (b"[]", "expected a JSON object, got list"),
        (b"{}", "missing required field `name`"),
        (b'{"name":"\xff"}', "here:1:10: byte 0xff is not UTF-8"),
        (b'{"name":NaN}', "here:1:9: JSON is malformed: invalid character"),
        (b'{"name":"\\ud83d"}', r"here:1:10: \\ud83d is half of a surrogate pair"),
        ('{"name":"x"}'.encode("utf-16"), "here: is UTF-16; save it as UTF-8"),
        (b'{"a":' + b"[" * 100_000, "nested too deeply"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "the limit is 1048576"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_what_is_no_manifest(data, words):
    with pytest.raises(ManifestError, match=words):
        parse_manifest(data, "here")


def test_read_manifest(tmp_path):
    path = tmp_path / "plugin.json"
    with pytest.raises(ManifestError, match="cannot be read: No such file"):
        read_manifest(path)
    path.write_text('{"name":"v.plugin.x"}')
    assert read_manifest(path).plugin == "x"
    path.write_text("{")
    with pytest.raises(ManifestError, match=str(path)):
        read_manifest(path)


def test_a_byte_order_mark_does_not_matter():
    assert parse_manifest(b'\xef\xbb\xbf{"name":"x"}', "here").plugin == "x"


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ('"priority": 100000000000000000000', "$.priority: the integer has more than 64 bits"),
        ('"config": {"n": [18446744073709551616]}', "$.config.n[0]: the integer has more than"),
        ('"config": {"d": ' + "[" * 300 + "]" * 300 + "}", "nested too deeply; the limit is 254"),
    ],
    ids=["priority", "config", "deep"],
)
def test_what_could_not_be_written_again_is_refused(field, words):
    with pytest.raises(ManifestError) as refused:
        parse_manifest(b'{"name": "x", %b}' % field.encode(), "plugin.json")
    assert words in str(refused.value)


@pytest.mark.parametrize("version", ["1\u202e9", "1\n2", "1\x00", "1\u2028"])
def test_a_version_is_shown_everywhere_so_it_must_be_printable(version):
    with pytest.raises(ManifestError, match=r"version is .* expected one without control"):
        parse_manifest(json.dumps({"name": "x", "version": version}).encode(), "here")


def test_all_that_is_wrong_is_found_at_once():
    raw = {"priority": 1.5, "version": "v" * 65, "before": ["a"], "after": "b", "plugin_no": "/"}
    manifest, faults = sift_manifest(raw)
    assert [str(fault).partition(";")[0] for fault in faults] == [
        "object missing required field `name`",
        "$.priority: expected `int`, got `float`",
        "$.after: expected `array`, got `str`",
        "plugin_no is '/'",
        "version has 65 bytes",
    ]
    assert (manifest.before, manifest.after, manifest.raw) == (("a",), (), raw)


# --- its configuration --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("defaults", "values", "merged"),
    [
        ({}, {}, {}),
        ({"a": 1}, {}, {"a": 1}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({"a": {"x": 1}}, {"a": {}}, {"a": {"x": 1}}),
        ({"a": {"x": 1}}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": 3}}}, {"a": {"b": {"c": 3, "d": 2}}}),
    ],
)
def test_tables_are_merged_key_by_key(defaults, values, merged):
    assert merge_config(defaults, values) == merged


def test_the_defaults_stay_as_they_are():
    defaults = {"a": {"b": {"c": 1}}}
    merge_config(defaults, {"a": {"b": {"c": 2}, "new": 1}})
    assert defaults == {"a": {"b": {"c": 1}}}
