"""Whatever an index says: it is refused in words, or leads to nothing but what is below it."""

from __future__ import annotations

import json
import os
from typing import Any
from urllib.parse import unquote, urljoin

from hypothesis import example, given, settings
from hypothesis import strategies as st

from vconnect.errors import InstallError
from vconnect.index.document import decode_index, is_relative

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
VALID: dict[str, Any] = {
    "format": 1,
    "serial": 1,
    "plugins": {
        "a": {
            "aliases": ["b"],
            "versions": [
                {
                    "version": "1.0.0",
                    "yanked": None,
                    "files": [{"url": "a.vp", "size": 1, "sha256": "ab" * 32}],
                }
            ],
        }
    },
}


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, one in inner:
            found += places(one, (*path, key)) if isinstance(one, dict | list) else [(*path, key)]
    return found


def look_at(data: bytes) -> None:
    """Read all of an index, as a host does."""
    try:
        index = decode_index(data, "index.json")
    except InstallError:
        return
    for name in index.plugins:
        try:
            plugin = index.plugin(name)
            plugin.latest()
            index.find(name)
        except InstallError:
            continue
        for version in plugin.versions:
            assert all(is_relative(file.url) for file in version.files)


@settings(max_examples=1000, deadline=None)
@given(st.binary(max_size=200))
@example(b"\xff")
@example(b'{"serial": 1, "plugins": {"\\ud800": {}}}')
def test_any_bytes(data: bytes) -> None:
    look_at(data)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(places(VALID)), VALUES)
def test_any_value_in_any_place(place: tuple[Any, ...], value: Any) -> None:
    document = json.loads(json.dumps(VALID))
    inner = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    look_at(json.dumps(document).encode())


@settings(max_examples=3000, deadline=None)
@given(st.text(alphabet="./\\%2eEfF5cC?#:@ax~\x00 \n", max_size=24) | st.text(max_size=24))
@example("%2e%2e/x")
@example("..%2fx")
@example("x/%2e%2e/%2e%2e/y")
def test_an_address_that_is_accepted_leads_below_the_index(url: str) -> None:
    if not is_relative(url):
        return
    assert os.path.normpath(f"/site/{unquote(url)}").startswith("/site")
    assert not unquote(url).startswith("/")
    assert urljoin("https://h/site/index.json", url).startswith("https://h/site/")
