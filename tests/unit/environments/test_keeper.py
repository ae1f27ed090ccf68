"""Environments are looked after before each start."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.wheel_kit import add_dependencies, make_wheel

from vconnect.environments.build import (
    ENVIRONMENT,
    FACTS,
    EnvironmentSettings,
    build,
    find_need,
    read_facts,
)
from vconnect.environments.keeper import Keeper, find_own
from vconnect.environments.locked import LOCK, WHEELS
from vconnect.environments.python import ask_python
from vconnect.errors import InstallError


class Shelf:
    """One installed version, and who keeps it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = EnvironmentSettings(cache=directory / "cache", max_bytes=1 << 20)
        self.own_python = ""
        self.keeper = Keeper(lambda: self.settings, lambda _: self.own_python, directory / "state")
        self.version = directory / "version"
        self.package = self.version / "pkg"
        self.source = directory / "source"
        self.source.mkdir()

    async def install(self, python: str = "") -> None:
        self.package.mkdir(parents=True)
        add_dependencies(self.package, "1.0")
        need = find_need(self.package)
        assert need is not None
        where = self.version / ENVIRONMENT
        await build(need, where, where, self.settings, own_python=python)

    async def prepare(self) -> None:
        await self.keeper.prepare("one", self.version, self.package)

    @property
    def is_ready(self) -> bool:
        return self.keeper.is_ready(self.version, self.package)

    @property
    def is_source_ready(self) -> bool:
        return self.keeper.is_source_ready("one", self.source)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def version_in(environment: Path) -> str:
    command = [str(environment / "bin" / "python"), "-c", "import lib; print(lib.VERSION)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def touch(file: str) -> None:
    status = os.stat(file)  # noqa: PTH116
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))


async def copied_python(directory: Path) -> str:
    """Return a Python that can be replaced: a link would be resolved."""
    own = await ask_python(sys.executable)
    program = directory / "python" / "bin" / Path(own.executable).name
    program.parent.mkdir(parents=True)
    shutil.copy2(own.executable, program)
    (directory / "python" / "lib").symlink_to(Path(own.prefix) / "lib")
    return str(program)


async def test_a_version_without_an_environment_needs_no_work(shelf: Shelf) -> None:
    shelf.package.mkdir(parents=True)
    assert shelf.is_ready
    assert shelf.keeper.of(shelf.version) is None


async def test_an_interpreter_of_the_same_version_is_confirmed(shelf: Shelf) -> None:
    python = await copied_python(shelf.directory)
    await shelf.install(python)
    assert shelf.is_ready
    found = shelf.keeper.of(shelf.version)
    assert found is not None
    assert found.programs == shelf.version / ENVIRONMENT / "bin"
    touch(python)
    assert not shelf.is_ready
    inode = (shelf.version / ENVIRONMENT).stat().st_ino
    await shelf.prepare()
    assert shelf.is_ready
    assert (shelf.version / ENVIRONMENT).stat().st_ino == inode, "it was not made anew"


async def test_an_interpreter_that_is_gone_means_another_environment(shelf: Shelf) -> None:
    python = await copied_python(shelf.directory)
    await shelf.install(python)
    Path(python).unlink()
    assert not shelf.is_ready
    await shelf.prepare()
    assert shelf.is_ready
    facts = read_facts(shelf.version / ENVIRONMENT)
    assert facts is not None
    assert facts.python.executable != python
    assert version_in(shelf.version / ENVIRONMENT) == "1.0"
    assert sorted(one.name for one in shelf.version.iterdir()) == [ENVIRONMENT, "pkg"]


async def test_what_cannot_be_made_anew_is_told_and_tried_again(shelf: Shelf) -> None:
    python = await copied_python(shelf.directory)
    await shelf.install(python)
    Path(python).unlink()
    wheel = next((shelf.package / WHEELS).iterdir())
    wheel.rename(shelf.directory / wheel.name)
    await shelf.prepare()
    assert shelf.is_ready, "the start reports it"
    with pytest.raises(InstallError, match=r"cannot be used: installing the dependencies: .*lib"):
        shelf.keeper.of(shelf.version)
    assert not shelf.is_ready, "the next one tries it again"
    (shelf.directory / wheel.name).rename(wheel)
    await shelf.prepare()
    assert shelf.keeper.of(shelf.version) is not None


async def test_facts_that_are_broken_by_hand_mean_another_environment(shelf: Shelf) -> None:
    await shelf.install()
    facts = shelf.version / ENVIRONMENT / FACTS
    facts.unlink()
    facts.write_text("{")
    assert not shelf.is_ready
    await shelf.prepare()
    assert shelf.keeper.of(shelf.version) is not None


# --- plugins from source -----------------------------------------------------------------------


async def test_a_source_without_dependencies_needs_no_work(shelf: Shelf) -> None:
    assert shelf.is_source_ready
    assert shelf.keeper.of_source("one", shelf.source) is None
    (shelf.source / "requirements.txt").write_text("lib\n")
    assert shelf.is_source_ready, "without an index or wheels they are those of the host's Python"


async def test_wheels_in_the_source_make_an_environment_that_follows_them(shelf: Shelf) -> None:
    make_wheel(shelf.source / WHEELS, "lib", "1.0")
    (shelf.source / "requirements.txt").write_text("lib\n")
    assert not shelf.is_source_ready
    await shelf.keeper.prepare_source("one", shelf.source)
    assert shelf.is_source_ready
    first = shelf.keeper.of_source("one", shelf.source)
    assert first is not None
    assert version_in(first.path) == "1.0"
    make_wheel(shelf.source / WHEELS, "lib", "2.0")
    (shelf.source / "requirements.txt").write_text("lib>=2\n")
    assert not shelf.is_source_ready
    await shelf.keeper.prepare_source("one", shelf.source)
    second = shelf.keeper.of_source("one", shelf.source)
    assert second is not None
    assert (version_in(first.path), version_in(second.path)) == ("1.0", "2.0")
    assert {one.name for one in (shelf.directory / "state" / "dev-env").iterdir()} == {
        first.path.name,
        second.path.name,
    }


async def test_what_is_locked_is_what_a_source_gets(shelf: Shelf) -> None:
    add_dependencies(shelf.source, "1.0")
    await shelf.keeper.prepare_source("one", shelf.source)
    found = shelf.keeper.of_source("one", shelf.source)
    assert found is not None
    assert version_in(found.path) == "1.0"
    (shelf.source / "requirements.txt").write_text("lib>=1\n")
    await shelf.keeper.prepare_source("one", shelf.source)
    with pytest.raises(InstallError, match=f"{LOCK} was made from other dependencies"):
        shelf.keeper.of_source("one", shelf.source)


async def test_what_a_source_declares_and_cannot_get_is_told(shelf: Shelf) -> None:
    make_wheel(shelf.source / WHEELS, "lib", "1.0")
    (shelf.source / "requirements.txt").write_text("lib>=2\n")
    await shelf.keeper.prepare_source("one", shelf.source)
    assert shelf.is_source_ready, "the start reports it"
    with pytest.raises(InstallError, match=r"resolving the dependencies: .*lib"):
        shelf.keeper.of_source("one", shelf.source)
    assert not shelf.is_source_ready, "the next one tries it again"
    (shelf.source / "requirements.txt").write_text("lib >\n")
    assert shelf.is_source_ready
    with pytest.raises(InstallError, match="is no requirement"):
        shelf.keeper.of_source("one", shelf.source)


async def test_an_environment_that_the_author_has_made_comes_first(shelf: Shelf) -> None:
    own = shelf.source / ".venv"
    command = [sys.executable, "-m", "venv", "--without-pip", str(own)]
    subprocess.run(command, check=True)
    assert find_own(shelf.source) is None, "vconnect is not in it"
    python = await ask_python(sys.executable)
    (own / python.library / "vconnect-0.1.0.dist-info").mkdir()
    found = shelf.keeper.of_source("one", shelf.source)
    assert found is not None
    assert found.path == own
    assert shelf.is_source_ready


async def test_old_environments_of_a_source_are_removed(shelf: Shelf) -> None:
    for number in range(4):
        make_wheel(shelf.source / WHEELS, "lib", f"{number}.0")
        (shelf.source / "requirements.txt").write_text(f"lib=={number}.0\n")
        await shelf.keeper.prepare_source("one", shelf.source)
    assert len(list((shelf.directory / "state" / "dev-env").iterdir())) == 3
