"""Plugins by name: which index decides, what is installed, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support.download_kit import Server, answer
from tests.support.index_kit import Host, made, put, read
from tests.support.package_kit import leftovers

from vconnect.errors import InstallError, UnknownPluginError, VerificationError
from vconnect.index.build import withdraw
from vconnect.index.client import Upgrade
from vconnect.packages.source import platform_name
from vconnect.packages.wanted import Wanted, parse_wanted
from vconnect.settings.model import SourceOptions


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    put(directory, "1.0.0", description="Says hello")
    put(directory, "1.1.0", description="Says hello")
    put(directory, "3", name="other", plugin_no="another")
    made(directory)
    return directory


def wanted(text: str) -> Wanted:
    found = parse_wanted(text)
    assert found is not None
    return found


async def refusal(host: Host, source: str, kind: type[InstallError] = InstallError) -> str:
    with pytest.raises(InstallError) as caught:
        await host.install(source)
    assert type(caught.value) is kind or kind is InstallError
    assert leftovers(Path(host.live.now.plugin_dir)) == []
    return str(caught.value)


async def test_a_name_is_installed_and_locked_with_its_index(tmp_path: Path, site: Path) -> None:
    host = Host(tmp_path, site)
    assert await host.install("wk.plugin.example@~1.0") == "1.0.0"
    locks = host.installer.store.locks
    assert locks is not None
    locked = locks.entries()["example"]
    (file,) = read(site).plugin("example").versions[1].files
    assert (locked.requested, locked.source) == ("example@~1.0", str(site / "index.json"))
    assert [one.sha256 for one in locked.files.values()] == [file.sha256]
    # What is locked is what is meant, until an upgrade is asked for.
    assert await host.install("example") == "1.0.0"
    assert await host.install("example", is_upgrade=True) == "1.1.0"


async def test_the_files_of_all_platforms_are_locked(tmp_path: Path, site: Path) -> None:
    document = json.loads((site / "index.json").read_text())
    files = document["plugins"]["example"]["versions"][0]["files"]
    files[0]["platform"] = platform_name()
    files.append({**files[0], "platform": "darwin-arm64", "sha256": "ab" * 32, "size": 7})
    (site / "index.json").write_text(json.dumps(document))
    host = Host(tmp_path, site)
    assert await host.install("example") == "1.1.0"
    locks = host.installer.store.locks
    assert locks is not None
    locked = locks.entries()["example"].files
    assert set(locked) == {platform_name(), "darwin-arm64"}
    assert locked["darwin-arm64"].sha256 == "ab" * 32


async def test_an_alias_is_the_plugin(tmp_path: Path, site: Path) -> None:
    host = Host(tmp_path, site)
    assert await host.install("another") == "3"
    assert host.installer.store.home("other").current() is not None
    assert await host.install("other") == "3"


async def test_without_an_index_it_is_said_what_a_path_is(tmp_path: Path) -> None:
    assert await refusal(Host(tmp_path), "example") == (
        "example: is not a path or URL (a path has a slash, or ends in .vp or .wkp), and this host "
        "has no index to ask; name one in its configuration: "
        '[plugins.sources."https://…/"] index = true'
    )


async def test_a_name_that_nobody_has(tmp_path: Path, site: Path) -> None:
    host = Host(tmp_path, site)
    assert await refusal(host, "nobody") == (
        f"nobody: no index has a plugin of this name (asked: {site}/index.json); a path has a "
        "slash, or ends in .vp or .wkp"
    )
    with pytest.raises(UnknownPluginError, match="no index has a plugin of this name"):
        await host.indexes.info("nobody")
    with pytest.raises(InstallError, match="is a path or an address"):
        await host.indexes.info("./nobody")


# --- several indexes --------------------------------------------------------------------------


async def test_the_first_index_that_has_a_name_decides(tmp_path: Path, site: Path) -> None:
    other = tmp_path / "second"
    put(other, "9.0.0")
    put(other, "1", name="more")
    made(other)
    host = Host(tmp_path, site, other)
    found = await host.indexes.info("example")
    assert (found.index, [one.version for one in found.versions]) == (
        str(site / "index.json"),
        ["1.1.0", "1.0.0"],
    )
    words = (
        f"example is in {site}/index.json, which comes first and is taken, and in "
        f"{other}/index.json"
    )
    assert found.notes == (words,)
    resolved = await host.indexes.resolve(host.installer.parse("example"))
    assert resolved.wanted is not None
    assert (resolved.wanted.version, resolved.wanted.notes) == ("1.1.0", (words,))
    assert await host.install("more") == "1"
    hits = await host.indexes.search("")
    assert [(one.name, one.version) for one in hits.plugins] == [
        ("example", "1.1.0"),
        ("more", "1"),
        ("other", "3"),
    ]
    assert (hits.total, hits.notes) == (3, (words,))


async def test_a_plugin_stays_with_the_index_that_it_came_from(tmp_path: Path, site: Path) -> None:
    first = tmp_path / "first"
    put(first, "1", name="unrelated")
    made(first)
    host = Host(tmp_path, first, site)
    await host.install("example")
    put(first, "9.0.0")
    made(first)
    assert await host.install("example", is_upgrade=True) == "1.1.0"
    # The host has the other index only, by now: that is said.
    host.live.now.sources.pop(str(site))
    resolved = await host.indexes.resolve(host.installer.parse("example@9"))
    assert resolved.wanted is not None
    assert resolved.wanted.notes == (
        f"example came from {site}/index.json, which is no index of this host any more",
    )


async def test_an_index_that_cannot_be_read_is_never_passed_over(
    tmp_path: Path, site: Path
) -> None:
    assert "no such file" in await refusal(Host(tmp_path, tmp_path / "none", site), "example")
    host = Host(tmp_path, site, tmp_path / "none")
    assert await host.install("example") == "1.1.0"
    (note,) = (await host.indexes.info("other")).notes
    assert note.startswith("whether another index has other is not known: ")


# --- what the index says, and what there is ---------------------------------------------------


def edited(site: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    """Change what the index says of the latest file of the plugin."""
    document = json.loads((site / "index.json").read_text())
    edit(document["plugins"]["example"]["versions"][0]["files"][0])
    (site / "index.json").write_text(json.dumps(document))


async def test_a_package_has_the_digest_of_the_index(tmp_path: Path, site: Path) -> None:
    put(site, "1.1.0", mark="changed")
    host = Host(tmp_path, site)
    assert "sha256" in await refusal(host, "example", VerificationError)
    assert not (tmp_path / "plugins" / "example").exists()
    assert not (tmp_path / "vconnect.lock").exists()


async def test_the_lock_file_counts_more_than_the_index(tmp_path: Path, site: Path) -> None:
    await Host(tmp_path, site).install("example")
    put(site, "1.1.0", description="Says hello", mark="changed")
    made(site, replace=True)
    for plugins in ("plugins", "elsewhere"):
        host = Host(tmp_path, site, plugin_dir=str(tmp_path / plugins))
        words = await refusal(host, "example", VerificationError)
        assert "was changed at its source" in words


async def test_a_package_of_another_name_is_refused(tmp_path: Path, site: Path) -> None:
    (other,) = read(site).plugin("other").versions[0].files
    edited(site, lambda file: file.update(url=other.url, sha256=other.sha256))
    words = await refusal(Host(tmp_path, site), "example", VerificationError)
    assert words == (
        f"{site}/index.json has example 1.1.0, and the package that it leads to is other 3"
    )
    assert not (tmp_path / "plugins" / "other").exists()


@pytest.mark.parametrize("url", ["../secret.vp", "/etc/x.vp", "https://evil/x.vp", "%2e%2e/x.vp"])
async def test_an_address_leads_nowhere_else(tmp_path: Path, site: Path, url: str) -> None:
    edited(site, lambda file: file.update(url=url))
    assert "is not relative to the index" in await refusal(Host(tmp_path, site), "example")


async def test_a_file_that_is_not_there(tmp_path: Path, site: Path) -> None:
    (site / "example-1.1.0.vp").unlink()
    assert "no such file" in await refusal(Host(tmp_path, site), "example")
    assert await Host(tmp_path, site).install("example@1.0") == "1.0.0"


async def test_what_was_withdrawn_stays_where_it_is_locked(
    tmp_path: Path, site: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(tmp_path, site)
    await host.install("example")
    withdraw(site, "example", "1.1.0", "loses data")
    elsewhere = Host(tmp_path, site, plugin_dir=str(tmp_path / "elsewhere"))
    assert await elsewhere.install("example") == "1.1.0"
    assert "example 1.1.0 was withdrawn: loses data; it is taken because it is locked" in (
        caplog.messages
    )
    alone = Host(tmp_path / "alone", site)
    assert await alone.install("example") == "1.0.0"
    assert "was withdrawn: loses data" in await refusal(alone, "example@1.1.0")


async def test_what_an_upgrade_would_take_is_known_without_a_package(
    tmp_path: Path, site: Path
) -> None:
    host = Host(tmp_path, site)
    await host.install("example@1.0.0")
    put(site, "2.0.0", permissions=["log"])
    made(site)
    for path in site.glob("*.vp"):
        path.unlink()
    found = await host.indexes.look(wanted("example@^1"))
    (file,) = read(site).plugin("example").versions[1].files
    assert found == Upgrade(version="1.1.0", digest=file.sha256, latest="2.0.0")
    found = await host.indexes.look(wanted("example"))
    assert (found.version, found.permissions) == ("2.0.0", ("log",))
    withdraw(site, "example", "1.0.0", "")
    assert (await host.indexes.look(wanted("example"))).yanked == "no reason given"


async def test_a_search_is_for_any_word(tmp_path: Path, site: Path) -> None:
    host = Host(tmp_path, site)
    for word, names in {
        "HELLO": ["example"],
        "anoth": ["other"],
        "x": ["example"],
        "none": [],
    }.items():
        assert [one.name for one in (await host.indexes.search(word)).plugins] == names


async def test_a_search_is_told_which_indexes_it_lacks(tmp_path: Path, site: Path) -> None:
    hits = await Host(tmp_path, tmp_path / "none", site).indexes.search("hello")
    assert [one.name for one in hits.plugins] == ["example"]
    (note,) = hits.notes
    assert "no such file" in note
    with pytest.raises(InstallError, match=r"none/index\.json: no such file"):
        await Host(tmp_path, tmp_path / "none", tmp_path / "more").indexes.search("hello")


async def test_a_bad_entry_spoils_no_other(tmp_path: Path, site: Path) -> None:
    edited(site, lambda file: file.update(sha256="x"))
    host = Host(tmp_path, site)
    hits = await host.indexes.search("")
    assert [one.name for one in hits.plugins] == ["other"]
    (note,) = hits.notes
    assert note.startswith(f"{site}/index.json: example: ")
    assert await host.install("other") == "3"
    assert "sha256" in await refusal(host, "example")


async def test_versions_can_be_asked_for_by_a_range(tmp_path: Path, site: Path) -> None:
    found = await Host(tmp_path, site).indexes.info("example@<1.1")
    assert [one.version for one in found.versions] == ["1.0.0"]


# --- over the network -------------------------------------------------------------------------


async def test_credentials_are_sent_and_never_written(
    tmp_path: Path, site: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    index, package = (site / "index.json").read_bytes(), (site / "example-1.1.0.vp").read_bytes()
    server.answers = [answer(body=index), answer(body=package)]
    place = server.base.replace("//", "//ann:SECRET@") + "/x/?token=SECRET"
    host = Host(tmp_path, place)
    assert await host.install("example") == "1.1.0"
    assert server.paths() == ["/x/index.json?token=SECRET", "/x/example-1.1.0.vp?token=SECRET"]
    assert all("authorization: basic " in one.lower() for one in server.requests)
    written = [
        path.read_bytes()
        for path in (*tmp_path.glob("state/**/*"), *tmp_path.glob("plugins/**/*"))
        if path.is_file()
    ]
    written.append((tmp_path / "vconnect.lock").read_bytes())
    assert all(b"SECRET" not in one for one in written)
    assert all("SECRET" not in one for one in caplog.messages)


async def test_a_download_is_checked_against_the_index(
    tmp_path: Path, site: Path, server: Server
) -> None:
    index = (site / "index.json").read_bytes()
    server.answers = [answer(body=index), answer(body=b"something else")]
    words = await refusal(Host(tmp_path, server.base), "example", VerificationError)
    assert words.startswith(f"{server.base}/example-1.1.0.vp has sha256 ")


async def test_what_is_in_the_store_is_not_fetched_again(
    tmp_path: Path, site: Path, server: Server
) -> None:
    index, package = (site / "index.json").read_bytes(), (site / "example-1.1.0.vp").read_bytes()
    server.answers = [answer(body=index), answer(body=package), answer(body=index)]
    host = Host(tmp_path, server.base)
    await host.install("example")
    await host.install("example")
    assert [path.rpartition(".")[2] for path in server.paths()] == ["json", "vp", "json"]


async def test_a_table_about_signatures_is_no_index(tmp_path: Path, site: Path) -> None:
    host = Host(tmp_path, sources={str(site): SourceOptions(require_signature=False)})
    assert "has no index to ask" in await refusal(host, "example")
