"""The page's files."""

from __future__ import annotations

import gzip
import re

import pytest

from vconnect.admin.http.asked import Asked
from vconnect.admin.http.problems import Problem
from vconnect.admin.routes.page import PageRoutes, _files


async def get(name, **headers):
    asked = Asked(
        "GET",
        f"/{name}",
        (),
        {key.replace("_", "-"): value for key, value in headers.items()},
        None,
        "tcp",
        names={"file": name},
    )
    return await (PageRoutes().file(asked) if name else PageRoutes().index(asked))


async def test_a_file_is_sent_again_only_if_it_has_changed():
    page = await get("")
    assert page.content_type == "text/html; charset=utf-8"
    again = await get("", if_none_match=page.headers["ETag"])
    assert (again.status, again.body) == (304, b"")


async def test_the_page_is_small_and_names_only_its_own_files():
    packed = 0
    for name, (body, _, _) in _files().items():
        reply = await get(name, accept_encoding="gzip, br")
        assert gzip.decompress(reply.body) == body
        assert reply.headers["Content-Encoding"] == "gzip"
        packed += len(reply.body)
    assert packed < 100 * 1024
    html = _files()["index.html"][0].decode()
    named = set(re.findall(r'(?:src|href)="([^"#]+)"', html))
    assert named <= set(_files())


@pytest.mark.parametrize("name", ["nothing.js", "../server.py", "index.htm", "__init__.py"])
async def test_nothing_else_is_sent(name):
    with pytest.raises(Problem):
        await get(name)


def test_no_file_needs_what_the_policy_forbids():
    for name, (body, _, _) in _files().items():
        text = body.decode()
        assert "innerHTML" not in text, name
        assert "eval(" not in text, name
        assert not re.search(r'<[^>]+\sstyle="|<script>|\son\w+="', text), name
        assert not re.search(r"https?://(?!www\.w3\.org)", text), name
