"""The pages for people: everything in them is escaped, and nothing runs."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

from tests.support.index_kit import made, put, read

from vconnect.index.build import withdraw
from vconnect.index.document import Index, IndexedFile, IndexedPlugin, IndexedVersion
from vconnect.index.pages import render, write_pages

EVIL = "<script>alert(1)</script>&\"'"


class Tags(HTMLParser):
    """Collects tags, checks that they are closed, and collects what is linked."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.links: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.add(tag)
        assert all(not name.startswith("on") and name != "style" for name, _ in attrs)
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_what_authors_write_is_escaped() -> None:
    file = IndexedFile(
        url="a.vp", size=1, sha256="ab" * 32, platform=EVIL, signature="a.vp.minisig"
    )
    version = IndexedVersion(
        version=EVIL,
        yanked=EVIL,
        permissions=(EVIL,),
        requires=(EVIL,),
        interface=(EVIL,),
        min_host_version=EVIL,
        files=(file,),
    )
    plugin = IndexedPlugin(aliases=(EVIL,), description=EVIL, versions=(version,))
    pages = render(Index(serial=1, name=EVIL), {"a": plugin})
    assert sorted(pages) == ["index.html", "plugins/a.html"]
    for text in pages.values():
        assert "script" not in Tags(text).seen
        assert "<script" not in text
    assert pages["plugins/a.html"].count("&lt;script&gt;") == 9


def test_the_style_is_the_only_thing_that_is_allowed() -> None:
    text = render(Index(serial=1), {})["index.html"]
    (style,) = re.findall("<style>(.*)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"default-src 'none'; style-src 'sha256-{digest}'\"" in text
    assert "prefers-color-scheme: dark" in style


def test_every_link_leads_to_a_file(tmp_path: Path) -> None:
    site = tmp_path / "site"
    put(site, "1 a", description="x")
    put(site / "sub dir", "2", name="other")
    made(site)
    withdraw(site, "other", "2", "loses data")
    assert "withdrawn: loses data" in (site / "plugins" / "other.html").read_text()
    assert "withdrawn:" not in (site / "index.html").read_text()
    for page in ("index.html", "plugins/example.html", "plugins/other.html"):
        for link in Tags((site / page).read_text()).links:
            assert (site / page).parent.joinpath(link.replace("%20", " ")).is_file()


def test_pages_of_plugins_that_are_gone_go_and_those_of_others_stay(tmp_path: Path) -> None:
    put(tmp_path, "1")
    put(tmp_path, "1", name="other")
    made(tmp_path)
    (tmp_path / "plugins" / "mine.html").write_text("<p>mine</p>")
    (tmp_path / "other-1.vp").unlink()
    made(tmp_path)
    names = sorted(one.name for one in (tmp_path / "plugins").iterdir())
    assert names == ["example.html", "mine.html"]


def test_what_is_the_same_is_not_written_again(tmp_path: Path) -> None:
    put(tmp_path, "1")
    made(tmp_path)
    index = read(tmp_path)
    pages = render(index, {"example": index.plugin("example")})
    before = {name: (tmp_path / name).stat().st_ino for name in pages}
    write_pages(tmp_path, pages)
    assert {name: (tmp_path / name).stat().st_ino for name in pages} == before
