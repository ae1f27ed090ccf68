"""The index of a directory of packages: what is in it, what is refused, what is kept."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.support.index_kit import made, put, read, sign, trusted
from tests.support.package_kit import tree

from vconnect.errors import ConflictError, InstallError
from vconnect.index import build as module
from vconnect.index.build import Options, build, withdraw
from vconnect.trust.minisign import SecretKey
from vconnect.trust.signing import generate

pytest.importorskip("cryptography")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "site"
    put(directory, "1.9.0", description="old", platform="linux-amd64")
    put(directory, "1.10.0", description="new", platform="linux-amd64", permissions=["log"])
    put(directory, "1.10.0", description="new", platform="linux-arm64", permissions=["log"])
    put(directory / "more", "1", name="other", plugin_no="another")
    return directory


def faults(directory: Path, **options) -> list[str]:
    """What keeps the index from being made; nothing is written then."""
    before = tree(directory)
    built = build(directory, Options(**options))
    assert tree(directory) == before
    assert not built.changed
    return [str(one).replace(f"{directory}/", "") for one in built.faults]


def test_packages_are_put_together_by_plugin_and_version(site: Path) -> None:
    built = made(site, name="mine")
    assert (built.serial, built.plugins, built.files, built.changed) == (1, 2, 4, True)
    index = read(site)
    assert (index.name, index.serial, list(index.plugins)) == ("mine", 1, ["example", "other"])
    example = index.plugin("example")
    assert example.description == "new"
    assert [one.version for one in example.versions] == ["1.10.0", "1.9.0"]
    assert example.versions[0].permissions == ("log",)
    assert [one.platform for one in example.versions[0].files] == ["linux-amd64", "linux-arm64"]
    other = index.plugin("other")
    assert other.aliases == ("another",)
    (file,) = other.versions[0].files
    path = site / file.url
    assert (file.url, file.size) == ("more/other-1.vp", path.stat().st_size)
    assert file.signature == ""


def test_an_unchanged_directory_changes_nothing(site: Path) -> None:
    made(site)
    before = tree(site)
    assert not made(site).changed
    assert tree(site) == before
    put(site, "1.11.0")
    assert made(site).serial == 2
    assert made(site, name="mine").serial == 3
    (site / "example-1.11.0.vp").unlink()
    assert made(site).serial == 4


def test_when_it_expires_is_kept_until_something_else_is_said(site: Path) -> None:
    then = datetime(2030, 1, 1, tzinfo=UTC)
    made(site, expires=then)
    put(site, "2")
    made(site)
    assert read(site).expires == then
    made(site, expires=None)
    assert read(site).expires is None


def test_a_build_can_be_repeated(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    made(site)
    assert read(site).generated == datetime(1970, 1, 2, tzinfo=UTC)


def test_all_that_is_wrong_is_told_at_once(site: Path) -> None:
    (site / "broken.vp").write_bytes(b"no package")
    put(site, "", name="unversioned")
    put(site / "copy", "1.9.0", description="old", platform="linux-amd64", mark="x")
    put(site / "greedy", "1.9.0", platform="darwin-arm64", permissions=["log"])
    put(site, "1", name="thief", plugin_no="another")
    found = faults(site)
    assert len(found) == 5
    assert any(one.startswith("broken.vp: ") for one in found)
    assert "unversioned-.vp: has no version, so no range can choose it" in found
    assert (
        "thief-1.vp: gives the name 'another', which the plugin other has" in found
        or "more/other-1.vp: gives the name 'another', which the plugin thief has" in found
    )
    assert (
        "copy/example-1.9.0-linux-amd64.vp: is another file for example 1.9.0 on linux-amd64 than "
        "example-1.9.0-linux-amd64.vp; give it another version" in found
    )
    assert any("asks for something else than" in one for one in found)


def test_the_same_file_twice_is_no_fault(site: Path) -> None:
    put(site / "copy", "1.9.0", description="old", platform="linux-amd64")
    assert made(site).files == 4


def test_hidden_files_and_others_are_left_out(site: Path) -> None:
    put(site / ".trash", "3")
    (site / ".hidden.vp").write_bytes(b"x")
    (site / "notes.txt").write_bytes(b"x")
    assert made(site).files == 4


def test_other_bytes_for_a_version_need_a_word(site: Path) -> None:
    made(site)
    put(site, "1.9.0", description="old", platform="linux-amd64", mark="changed")
    (words,) = faults(site)
    assert words.startswith("example-1.9.0-linux-amd64.vp: example 1.9.0 had sha256 ")
    assert words.endswith("give it another version, or insist with --replace")
    assert made(site, replace=True).serial == 2


def test_an_index_that_cannot_be_read_is_not_written_over(site: Path) -> None:
    (site / "index.json").write_text("<html>")
    with pytest.raises(InstallError, match="is not a valid index"):
        build(site, Options())
    assert (site / "index.json").read_text() == "<html>"


def test_signatures_are_verified_and_listed(site: Path, key: SecretKey) -> None:
    path = site / "example-1.9.0-linux-amd64.vp"
    sign(path, key)
    built = made(site)
    assert built.unverified == (str(path),)
    (file,) = read(site).plugin("example").versions[1].files
    assert file.signature == f"{file.url}.minisig"
    number = key.public_key().id
    known = {number: trusted(key, sources=("https://elsewhere/",))}
    assert made(site, keys=known).unverified == ()
    other = {one.id: one for one in [trusted(generate())]}
    (words,) = faults(site, keys=other)
    assert words == f"{path.name}: is signed by {number}, which the trust file does not have"
    sign(path, key, "vconnect 1 name=other version=1 sha256=x")
    (words,) = faults(site, keys=known)
    assert "it was signed as name=other" in words


def test_the_index_itself_is_signed_with_each_change(site: Path, key: SecretKey) -> None:
    signed: list[int] = []

    def signing(path: Path) -> None:
        if path.with_name("index.json.minisig").exists():
            return
        signed.append(json.loads(path.read_text())["serial"])
        sign(path, key)

    made(site, sign=signing)
    made(site, sign=signing)
    assert signed == [1]
    put(site, "2")
    before = tree(site)
    with pytest.raises(ConflictError, match="sign the index again with --sign"):
        build(site, Options())
    assert tree(site) == before
    made(site, sign=signing)
    assert signed == [1, 2]
    (site / "index.json.minisig").unlink()
    made(site, sign=signing)
    assert signed == [1, 2, 2]


def test_a_version_is_withdrawn_and_offered_again(site: Path) -> None:
    made(site)
    built = withdraw(site, "wk.plugin.example", "1.9.0", "loses data")
    assert (built.serial, built.changed) == (2, True)
    put(site, "2")
    made(site)
    yanked = {one.version: one.yanked for one in read(site).plugin("example").versions}
    assert yanked == {"2": None, "1.10.0": None, "1.9.0": "loses data"}
    assert withdraw(site, "example", "1.9.0", None).serial == 4
    assert not withdraw(site, "example", "1.9.0", None).changed


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("nobody", "1", "has no plugin 'nobody'"),
        ("example", "3", "example has no version 3; there are: 1.10.0, 1.9.0"),
    ],
)
def test_what_is_not_there_cannot_be_withdrawn(
    site: Path, name: str, version: str, words: str
) -> None:
    with pytest.raises(InstallError, match="use: vconnect index build"):
        withdraw(site, name, version, "x")
    made(site)
    with pytest.raises(InstallError, match=words):
        withdraw(site, name, version, "x")


@pytest.mark.parametrize("page", ["index.html", "plugins/example.html"])
def test_a_page_of_somebody_else_is_not_written_over(site: Path, page: str) -> None:
    (site / "plugins").mkdir()
    (site / page).write_text("<p>mine</p>")
    before = tree(site)
    with pytest.raises(ConflictError, match="was not made by vconnect index"):
        build(site, Options())
    assert tree(site) == before
    (site / page).unlink()
    assert made(site).changed


def test_too_many_packages_are_refused(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INDEX_FILES", 3)
    with pytest.raises(InstallError, match="has more than 3 packages"):
        build(site, Options())


def test_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        build(tmp_path / "none", Options())


def test_an_empty_directory_has_an_empty_index(tmp_path: Path) -> None:
    assert made(tmp_path).serial == 1
    assert read(tmp_path).plugins == {}
