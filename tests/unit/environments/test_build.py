"""The environment of one version."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.wheel_kit import add_dependencies, lock_of, make_wheel
from tests.unit.environments.test_installs import BOTH

from vconnect.environments.build import (
    FACTS,
    EnvironmentSettings,
    build,
    find_need,
    read_facts,
)
from vconnect.environments.locked import LOCK, WHEELS
from vconnect.errors import InstallError
from vconnect.version import host_version

# Prints "VERSION PROGRAM" for each.
INTERPRETERS = Path(__file__).parents[3] / ".ci" / "interpreters"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    directory = tmp_path / "package"
    directory.mkdir()
    add_dependencies(directory, "1.0")
    return directory


async def made(package: Path, uv: str | None = None, max_bytes: int = 1 << 20) -> Path:
    need = find_need(package)
    assert need is not None
    settings = EnvironmentSettings(cache=package.parent / "cache", max_bytes=max_bytes)
    target = package.parent / "staging" / "env"
    target.parent.mkdir(exist_ok=True)
    final = package.parent / "final" / "env"
    await build(need, target, final, settings, uv=uv)
    return target


def run(environment: Path, code: str) -> str:
    command = [str(environment / "bin" / "python"), "-c", code]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@BOTH
async def test_it_has_the_dependencies_and_the_kit(package: Path, uv: str | None) -> None:
    environment = await made(package, uv)
    final = package.parent / "final" / "env"
    code = (
        "import lib, vconnect, sys; print(lib.VERSION, sys.prefix, lib.main.__code__.co_filename)"
    )
    # In its place, its compiled files know where they are.
    final.parent.mkdir()
    environment.rename(final)
    version, prefix, file = run(final, code).split()
    assert (version, prefix) == ("1.0", str(final))
    assert Path(file).is_relative_to(final)
    script = subprocess.run([final / "bin" / "lib-version"], capture_output=True, check=True)
    assert script.stdout == b"1.0\n"
    facts = read_facts(final)
    assert facts is not None
    assert facts.host == host_version()


async def test_nothing_in_it_can_be_written(package: Path) -> None:
    environment = await made(package)
    for path in environment.rglob("*"):
        if not path.is_symlink():
            assert not stat.S_IMODE(path.stat().st_mode) & 0o222, path
    assert not list(environment.parent.glob("env-*")), "no temporary files are left"


async def test_no_code_of_a_library_is_run(package: Path, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    evil = f"import pathlib; pathlib.Path({str(mark)!r}).touch()\n"
    wheel = make_wheel(package / WHEELS, files={"evil.pth": evil, "sitecustomize.py": evil})
    head = (package / LOCK).read_text().partition("\n")[0]
    (package / LOCK).write_text(f"{head}\n{lock_of(wheel)}")
    environment = await made(package)
    assert not mark.exists()
    run(environment, "pass")
    assert mark.exists(), "in the plugin's own process it is"


async def test_what_fails_leaves_nothing(package: Path) -> None:
    next((package / WHEELS).iterdir()).unlink()
    with pytest.raises(InstallError, match=r"installing the dependencies: .*lib"):
        await made(package)
    assert list((package.parent / "staging").iterdir()) == []


async def test_dependencies_that_would_fill_the_disk_are_refused(package: Path) -> None:
    with pytest.raises(InstallError, match=r"bytes; the limit is 100 \(max_package_bytes\)"):
        await made(package, max_bytes=100)


async def test_a_cache_that_grows_beyond_that_is_removed(package: Path) -> None:
    await made(package)
    cache = package.parent / "cache"
    left = cache / "left"
    left.write_bytes(b"x" * (2 << 20))
    shutil.rmtree(package.parent / "staging")
    await made(package)
    assert not left.exists()


def test_a_package_without_a_lock_needs_none(tmp_path: Path) -> None:
    assert find_need(tmp_path) is None
    (tmp_path / "requirements.txt").write_text("lib\n")
    assert find_need(tmp_path) is None


def test_a_package_must_agree_with_its_lock(package: Path) -> None:
    (package / "requirements.txt").write_text("lib==2\n")
    with pytest.raises(InstallError, match="other dependencies"):
        find_need(package)
    (package / "requirements.txt").write_text("lib==1.0\nvconnect>=99\n")
    with pytest.raises(InstallError, match="asks for vconnect >=99"):
        find_need(package)


def test_facts_that_cannot_be_read_are_told(tmp_path: Path) -> None:
    assert read_facts(tmp_path) is None
    (tmp_path / FACTS).write_text("{")
    with pytest.raises(InstallError, match="cannot be read"):
        read_facts(tmp_path)


def other_python() -> tuple[str, str]:
    """Return another version of Python that is there, and its program."""
    done = subprocess.run([INTERPRETERS], capture_output=True, text=True, check=True)
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for line in done.stdout.splitlines():
        version, _, program = line.partition(" ")
        if version != own:
            return version, program
    pytest.skip("no other version of Python is there")


async def test_another_python_needs_a_kit_of_its_own(package: Path) -> None:
    version, program = other_python()
    need = find_need(package)
    assert need is not None
    settings = EnvironmentSettings(cache=package.parent / "cache", max_bytes=1 << 20)
    where = package.parent / "env"
    with pytest.raises(InstallError, match="python_sdk_wheels"):
        await build(need, where, where, settings, own_python=program)
    kits = package.parent / "kits"
    for name in ("vconnect", "msgspec", "orjson"):
        make_wheel(kits, name, "9.9")
    settings = EnvironmentSettings(
        cache=package.parent / "cache", max_bytes=1 << 20, sdk_wheels=str(kits)
    )
    await build(need, where, where, settings, own_python=program)
    code = "import sys, lib, vconnect; print(sys.version[:4], lib.VERSION, vconnect.VERSION)"
    assert run(where, code).split() == [version, "1.0", "9.9"]
    assert sys.version_info[:2] != tuple(map(int, version.split(".")))
