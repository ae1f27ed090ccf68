"""Wheels are put into a directory, by uv and by pip."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.support.wheel_kit import lock_of, make_wheel

from vconnect.environments.installs import Origin, find_uv, install_wheels, tool_environment
from vconnect.environments.python import ask_python
from vconnect.errors import InstallError

needs_uv = pytest.mark.skipif(not find_uv(), reason="uv is not there")
# Without compiled files of its own, pip takes seconds to begin; `SAMPLE` runs always.
_UV = pytest.param(None, marks=needs_uv, id="uv")
BOTH = pytest.mark.parametrize("uv", [_UV, pytest.param("", marks=pytest.mark.nightly, id="pip")])
SAMPLE = pytest.mark.parametrize("uv", [_UV, pytest.param("", id="pip")])


async def install(directory: Path, wanted: list[str], uv: str | None, index: str = "") -> Path:
    site = directory / "site"
    scratch = directory / "scratch"
    scratch.mkdir(exist_ok=True)
    python = await ask_python(sys.executable)
    origin = Origin(directories=(directory / "wheels",), index=index)
    await install_wheels(wanted, site, python, origin, scratch, directory / "cache", uv=uv)
    return site


def locked(directory: Path, text: str) -> list[str]:
    (directory / "lock").write_text(text)
    return ["--require-hashes", "-r", str(directory / "lock")]


@SAMPLE
async def test_what_is_locked_is_installed(tmp_path: Path, uv: str | None) -> None:
    wheel = make_wheel(tmp_path / "wheels", requires=("never",))
    site = await install(tmp_path, locked(tmp_path, lock_of(wheel)), uv)
    assert (site / "lib.py").read_text().startswith("VERSION = '1.0'")
    assert (site / "bin" / "lib-version").exists()


@BOTH
async def test_a_wheel_that_was_changed_or_is_missing_is_told(
    tmp_path: Path, uv: str | None
) -> None:
    wheel = make_wheel(tmp_path / "wheels")
    wanted = locked(tmp_path, lock_of(wheel))
    make_wheel(tmp_path / "wheels", files={"lib.py": "import evil\n"})
    with pytest.raises(InstallError, match=r"(?s)installing the dependencies: .*[Hh]ash"):
        await install(tmp_path, wanted, uv)
    wheel.unlink()
    with pytest.raises(InstallError, match="lib"):
        await install(tmp_path, wanted, uv)


@BOTH
async def test_nothing_is_built(tmp_path: Path, uv: str | None) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "lib-1.0.tar.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(InstallError, match="lib"):
        await install(tmp_path, ["lib==1.0"], uv)


@needs_uv
async def test_files_are_linked_from_the_cache(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path / "wheels")
    wanted = locked(tmp_path, lock_of(wheel))
    site = await install(tmp_path, wanted, None)
    assert (site / "lib.py").stat().st_nlink == 2


def test_what_the_operator_has_set_for_themselves_has_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "PYTHONPATH", "HOME", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "/elsewhere")
    monkeypatch.setenv("https_proxy", "http://proxy")
    found = tool_environment(tmp_path, tmp_path / "cache")
    assert "/elsewhere" not in found.values()
    assert found["https_proxy"] == "http://proxy"
