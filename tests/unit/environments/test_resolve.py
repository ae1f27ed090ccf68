"""From declared dependencies to a lock file and wheels; no index is asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.wheel_kit import make_wheel
from tests.unit.environments.test_installs import BOTH, SAMPLE, needs_uv

from vconnect.environments.locked import LOCK, WHEELS, Locked, read_lock
from vconnect.environments.resolve import Wanted, check_source, fetch_wheels, lock_dependencies
from vconnect.errors import InstallError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    directory = tmp_path / "source"
    directory.mkdir()
    for version in ("1.0", "1.5", "2.0"):
        make_wheel(tmp_path / "wheels", "lib", version, requires=("other_lib>1", "vconnect"))
    for version in ("1", "2"):
        make_wheel(tmp_path / "wheels", "other_lib", version)
    (directory / "requirements.txt").write_text("lib<2\nvconnect\n")
    return directory


def wanted(source: Path, pythons: tuple[str, ...] = ()) -> Wanted:
    return Wanted(directories=(source.parent / "wheels",), is_offline=True, pythons=pythons)


async def lock(source: Path, uv: str | None, pythons: tuple[str, ...] = ()) -> Locked:
    return await lock_dependencies(
        source, wanted(source, pythons), executable=sys.executable, uv=uv
    )


@BOTH
async def test_what_they_depend_on_is_locked_too_but_the_kit(source: Path, uv: str | None) -> None:
    if uv == "":  # pip must see what it leaves out
        make_wheel(source.parent / "wheels", "vconnect", "0.1.0")
    locked = await lock(source, uv)
    assert locked.versions == {"lib": "1.5", "other-lib": "2"}
    assert read_lock(source) == locked
    assert check_source(source) == ""
    text = (source / LOCK).read_text()
    await lock(source, uv)
    assert (source / LOCK).read_text() == text, "the same from the same"


@SAMPLE
async def test_the_resolvers_words_are_told(source: Path, uv: str | None) -> None:
    (source / "requirements.txt").write_text("lib>=3\n")
    with pytest.raises(InstallError, match=r"resolving the dependencies: .*lib"):
        await lock(source, uv)
    assert not (source / LOCK).exists()


async def test_only_uv_looks_beyond_this_python(source: Path) -> None:
    with pytest.raises(InstallError, match="only uv can lock for another Python"):
        await lock(source, "", pythons=("3.99",))


@needs_uv
async def test_of_several_versions_of_python_the_lock_is_one(source: Path) -> None:
    locked = await lock(source, None, pythons=("3.11", "3.13"))
    assert locked.versions["lib"] == "1.5"
    with pytest.raises(InstallError, match="'three' is no version of Python"):
        await lock(source, None, pythons=("three",))


async def test_wheels_are_fetched_and_those_of_before_go(source: Path) -> None:
    with pytest.raises(InstallError, match="make it with: vconnect pack --lock"):
        await fetch_wheels(source, wanted(source), executable=sys.executable)
    await lock(source, None)
    make_wheel(source / WHEELS, "old", "1")
    fetched = await fetch_wheels(source, wanted(source), executable=sys.executable)
    names = ["lib-1.5-py3-none-any.whl", "other_lib-2-py3-none-any.whl"]
    assert [one.name for one in fetched] == names
    assert sorted(one.name for one in (source / WHEELS).iterdir()) == names


async def test_what_has_no_wheel_is_told(source: Path) -> None:
    await lock(source, None)
    (source.parent / "wheels" / "other_lib-2-py3-none-any.whl").unlink()
    with pytest.raises(InstallError, match=r"build those that are missing.*other"):
        await fetch_wheels(source, wanted(source), executable=sys.executable)


def test_a_plugin_without_a_lock_is_told_of(source: Path) -> None:
    assert "use: vconnect pack --lock --wheels" in check_source(source)
    (source / "requirements.txt").unlink()
    assert check_source(source) == ""


async def test_an_old_lock_is_refused(source: Path) -> None:
    await lock(source, None)
    (source / "requirements.txt").write_text("lib\n")
    with pytest.raises(InstallError, match="make it anew"):
        check_source(source)


async def test_nothing_to_lock(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="declares no dependencies"):
        await lock_dependencies(tmp_path, Wanted(), executable=sys.executable)
