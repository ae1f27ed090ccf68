"""What a manifest says, and whether a host could do it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.package_kit import manifest_bytes

from vconnect.checks.plugin import check_version_of, notes_of, read
from vconnect.errors import InstallError
from vconnect.packages.manifest import Manifest


def faults(tmp_path: Path, data: bytes) -> list[str]:
    (tmp_path / "plugin.json").write_bytes(data)
    return [str(fault) for fault in read(tmp_path / "plugin.json", "plugin.json").faults]


def test_a_good_one(tmp_path: Path) -> None:
    data = manifest_bytes(
        capabilities=["message", "user.*"], permissions=["log"], requires=["a:started ^1", "b"]
    )
    assert faults(tmp_path, data) == []


def test_all_that_is_wrong_with_its_fields(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        b'{"priority": "1", "entry": "../x", "requires": ["a >="], "dev": 1, "after": [""]}',
    )
    assert [one.partition(";")[0] for one in found] == [
        "plugin.json: object missing required field `name`",
        "plugin.json: $.priority: expected `int`, got `str`",
        "plugin.json: $.dev: expected `object`, got `int`",
        "plugin.json: requires has 'a >=': '>=' is not a comparator",
        "plugin.json: entry is '../x'",
        "plugin.json: after: got ''",
    ]


def test_all_that_no_host_could_do(tmp_path: Path) -> None:
    data = manifest_bytes(
        name="current",
        capabilities=["a b", "ok"],
        permissions=["*x"],
        before=["../x"],
        after=["wk.plugin.current"],
        requires=["a:start", "b", "v.plugin.b ^1"],
        min_host_version="999",
        version="1/2",
    )
    found = faults(tmp_path, data)
    assert [one.partition(";")[0] for one in found] == [
        "plugin.json: capabilities: got 'a b'",
        "plugin.json: permissions: got '*x'",
        "plugin.json: before: got '../x'",
        "plugin.json: after: 'wk.plugin.current' is this plugin itself",
        "plugin.json: requires: got 'a:start'",
        "plugin.json: requires: 'v.plugin.b' is there twice",
        "plugin.json: name: 'current' is a name that is taken",
        next(one.partition(";")[0] for one in found if "requires vconnect 999" in one),
        next(one.partition(";")[0] for one in found if "without '/'" in one),
    ]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "plugin.json:1:1: expected JSON, got nothing"),
        (b'{"a": }', "plugin.json:1:7: "),
        (b"[]", "plugin.json: expected a JSON object, got list"),
        (b"\xff\xfe{", "plugin.json: is UTF-16"),
    ],
)
def test_what_is_no_manifest(tmp_path: Path, data: bytes, words: str) -> None:
    (found,) = faults(tmp_path, data)
    assert found.startswith(words)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name in ("none", "pipe"):
        manifest, (fault,) = read(tmp_path / name, name)
        assert manifest is None
        assert fault.words.startswith("cannot be read: ")


def test_what_is_worth_knowing() -> None:
    manifest = Manifest(name="x", permissions=("log", "a\x1b"), platform="linux-amd64")
    told = [finding.message for finding in notes_of(manifest, "here")]
    assert told == ["x, for linux-amd64", r"permissions that it asks for: 'log', 'a\x1b'"]


def test_a_version_that_is_no_name() -> None:
    with pytest.raises(InstallError):
        check_version_of(Manifest(name="x", version="a/b"), "here")


def test_it_cannot_be_before_and_after_the_same_plugin(tmp_path: Path) -> None:
    (found,) = faults(tmp_path, manifest_bytes(before=["a", "b"], after=["wk.plugin.b", "c"]))
    assert found.startswith("plugin.json: after: 'b' is in before too")


def test_its_schema_is_checked_whatever_else_is_wrong(tmp_path: Path) -> None:
    found = faults(tmp_path, b'{"name": 5, "config_schema": {"type": "thing"}}')
    assert found[0].startswith("plugin.json: $.name")
    assert "config_schema" in found[1]


def test_its_defaults_fit_its_schema(tmp_path: Path) -> None:
    schema = {"properties": {"n": {"type": "integer"}, "m": {}}, "required": ["m"]}
    (found,) = faults(tmp_path, manifest_bytes(config={"n": "x"}, config_schema=schema))
    assert found.startswith("plugin.json: config does not fit config_schema: ")
    assert faults(tmp_path, manifest_bytes(config={"n": 1}, config_schema=schema)) == []


def test_a_key_that_is_almost_one_is_told() -> None:
    manifest = Manifest(name="x", raw={"name": "x", "capabilitys": [], "vendor": 1})
    told = [f"{one.place}: {one.message}" for one in notes_of(manifest, "plugin.json")]
    assert told[2:] == ["plugin.json: 'capabilitys': unknown key; did you mean 'capabilities'?"]
