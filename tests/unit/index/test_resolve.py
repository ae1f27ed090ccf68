"""Which version is meant, and which of its files."""

from __future__ import annotations

from typing import Any

import pytest

from vconnect.errors import InstallError, VerificationError
from vconnect.index.document import IndexedFile, IndexedPlugin, IndexedVersion
from vconnect.index.resolve import Machine, choose, this_machine
from vconnect.packages.semver import parse_range
from vconnect.packages.source import platform_name
from vconnect.packages.wanted import Wanted

HERE = Machine("linux-amd64", "0.4.0")


def indexed(version: str, *platforms: str, **fields: Any) -> IndexedVersion:
    files = [
        IndexedFile(platform=one, url=f"{one}.vp", size=1, sha256=digest(version, one))
        for one in platforms or ("any",)
    ]
    return IndexedVersion(version=version, files=tuple(files), **fields)


def digest(version: str, platform: str = "any") -> str:
    return f"{version}{platform}".encode().hex().rjust(64, "0")[:64]


def wanted(versions: str = "", **fields: Any) -> Wanted:
    return Wanted(name="a", versions=parse_range(versions), **fields)


def chosen(
    *versions: IndexedVersion, range_: str = "", here: Machine = HERE, **options: Any
) -> tuple[str, str]:
    is_upgrade = options.pop("is_upgrade", False)
    plugin = IndexedPlugin(versions=versions)
    found = choose(plugin, wanted(range_, is_upgrade=is_upgrade), here, **options)
    return found.version.version, found.file.platform


def refusal(*versions: IndexedVersion, **options: Any) -> str:
    with pytest.raises(InstallError) as caught:
        chosen(*versions, **options)
    return str(caught.value)


THREE = (indexed("1.10.0"), indexed("1.9.0"), indexed("0.9.0"))


@pytest.mark.parametrize(
    ("range_", "version"),
    [
        ("", "1.10.0"),
        ("*", "1.10.0"),
        ("^1.2", "1.10.0"),
        ("<1.10", "1.9.0"),
        ("~0.9", "0.9.0"),
        ("1.9.0", "1.9.0"),
        (">=0.5 <1", "0.9.0"),
    ],
)
def test_the_highest_in_the_range_is_meant(range_: str, version: str) -> None:
    assert chosen(*THREE, range_=range_) == (version, "any")


def test_a_prerelease_is_taken_only_if_the_range_names_one() -> None:
    versions = (indexed("2.0.0-rc.2"), indexed("2.0.0-rc.1"), indexed("1.0.0"))
    assert chosen(*versions)[0] == "1.0.0"
    assert chosen(*versions, range_=">=1")[0] == "1.0.0"
    assert chosen(*versions, range_=">=2.0.0-rc.1")[0] == "2.0.0-rc.2"
    words = refusal(versions[0])
    assert words == "a: no version is in a range without pre-releases; there are: 2.0.0-rc.2"


def test_the_version_that_is_locked_stays_until_an_upgrade() -> None:
    assert chosen(*THREE, locked="1.9.0")[0] == "1.9.0"
    assert chosen(*THREE, locked="1.9.0", is_upgrade=True)[0] == "1.10.0"
    assert chosen(*THREE, locked="1.9.0", range_="1.10.*")[0] == "1.10.0"
    assert chosen(*THREE, locked="5")[0] == "1.10.0"


def test_an_upgrade_never_goes_back() -> None:
    words = refusal(*THREE, locked="1.11.0", is_upgrade=True)
    assert words == (
        "a 1.11.0 is installed, and the index has at most 1.10.0 for this machine; to go back to "
        "that, use: vconnect install a@1.10.0 --upgrade"
    )
    # Somebody who names another version means it.
    assert chosen(*THREE, locked="1.11.0", is_upgrade=True, range_="1.9.0")[0] == "1.9.0"


def test_what_was_withdrawn_is_taken_only_if_it_is_locked() -> None:
    versions = (indexed("2", yanked="loses data"), indexed("1"))
    assert chosen(*versions)[0] == "1"
    assert chosen(*versions, locked="2")[0] == "2"
    assert chosen(*versions, locked="2", is_upgrade=True)[0] == "2"
    words = refusal(*versions, range_="2")
    assert words == "a 2 was withdrawn: loses data; the index has no other version in 2"


def test_the_file_that_fits_best() -> None:
    version = indexed("1", "linux-amd64-musl", "any", "linux-amd64", "darwin-arm64")
    assert chosen(version)[1] == "linux-amd64"
    assert chosen(version, here=Machine("linux-amd64-musl", "1"))[1] == "linux-amd64-musl"
    assert chosen(version, here=Machine("linux-arm64", "1"))[1] == "any"
    assert chosen(indexed("1", "linux-amd64-musl"))[1] == "linux-amd64-musl"


def test_no_build_for_this_machine_is_told() -> None:
    words = refusal(indexed("1.3.0", "linux-arm64", "darwin-arm64"))
    assert words == (
        "a 1.3.0 has builds for linux-arm64, darwin-arm64 only; this machine is linux-amd64"
    )
    assert "no platform only" in refusal(IndexedVersion(version="1"))


def test_a_lower_version_that_fits_is_taken_with_a_word_on_the_higher() -> None:
    plugin = IndexedPlugin(versions=(indexed("2", "linux-arm64"), indexed("1")))
    found = choose(plugin, wanted(), HERE)
    assert found.version.version == "1"
    assert found.passed_over == ("2 has builds for linux-arm64 only; this machine is linux-amd64")
    assert choose(plugin, wanted(), Machine("linux-arm64", "1")).passed_over == ""


def test_a_newer_host_may_be_needed() -> None:
    versions = (indexed("2", min_host_version="0.5"), indexed("1", min_host_version=">=0.3 <1"))
    assert chosen(*versions)[0] == "1"
    assert chosen(*versions, here=Machine("linux-amd64", "0.5.1"))[0] == "2"
    words = refusal(versions[0])
    assert words == "a 2 requires vconnect 0.5 or newer, this is 0.4.0; upgrade vconnect"


def test_the_digest_that_was_asked_for_decides() -> None:
    versions = (indexed("2", "linux-amd64", "linux-arm64"), indexed("1"))
    assert chosen(*versions, sha256=digest("1"))[0] == "1"
    for other in ("0" * 64, digest("2", "linux-arm64")):
        with pytest.raises(VerificationError, match="has no file with sha256"):
            chosen(*versions, sha256=other)


def test_what_there_is_is_shown_but_not_all_of_it() -> None:
    words = refusal(*(indexed(f"1.{number}.0") for number in range(9)), range_="^2")
    assert words == ("a: no version is in ^2; there are: 1.0.0, 1.1.0, 1.2.0, 1.3.0, 1.4.0, …")
    assert refusal(range_="^2").endswith("there are: none")


def test_this_machine_is_known() -> None:
    assert this_machine().platform.startswith(platform_name())
    assert this_machine().host_version
