"""Which Python an environment is for."""

from __future__ import annotations

import platform
import sys
from pathlib import Path

import pytest

from vconnect.environments.declared import Declared
from vconnect.environments.python import ask_python, choose_python, stamp_of
from vconnect.errors import InstallError


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


async def test_our_own_without_its_environment() -> None:
    python = await ask_python(sys.executable)
    assert python.version == platform.python_version()
    assert python.prefix == sys.base_prefix
    assert Path(python.executable).is_relative_to(Path(sys.base_prefix).resolve())
    assert python.tag == sys.implementation.cache_tag
    assert python.library == f"lib/python{python.short}/site-packages"


async def test_what_is_no_python(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="there is no Python at"):
        await ask_python(str(tmp_path / "none"))
    with pytest.raises(InstallError, match="is no Python"):
        await ask_python(script(tmp_path / "echo", "echo hello"))
    with pytest.raises(InstallError, match="asking Python: broken"):
        await ask_python(script(tmp_path / "fails", "echo broken; exit 1"))


def test_an_interpreter_that_was_replaced(tmp_path: Path) -> None:
    file = tmp_path / "python"
    assert stamp_of(str(file)) is None
    file.write_text("1")
    first = stamp_of(str(file))
    assert first == stamp_of(str(file))
    file.write_text("22")
    assert stamp_of(str(file)) != first


def declared(python: str) -> Declared:
    return Declared(origin="plugin.py", requirements=("a",), python=python)


async def test_the_hosts_own_if_it_fits() -> None:
    own = platform.python_version()
    assert (await choose_python(None, "", "/nonexistent")).version == own
    assert (await choose_python(declared(">=3.11"), "", "/nonexistent")).version == own


async def test_else_the_one_that_is_set(tmp_path: Path) -> None:
    answer = '{"executable": "/x", "version": "3.99.1", "tag": "t", "abi": "a", "prefix": "/p"}'
    other = script(tmp_path / "other", f"echo '{answer}'")
    assert (await choose_python(declared("==3.99.*"), "", other)).version == "3.99.1"
    assert (await choose_python(declared(">=3.11"), other, "")).version == "3.99.1"
    with pytest.raises(InstallError) as caught:
        await choose_python(declared("<3"), "", other)
    assert "plugin.py asks for Python <3" in str(caught.value)
    assert "3.99.1" in str(caught.value)
    with pytest.raises(InstallError, match=r"this host has 3\.99\.1 \("):
        await choose_python(declared("<3"), other, "")
