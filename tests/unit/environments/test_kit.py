"""The kit, copied from the host's own installation."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from vconnect.environments.kit import check_libraries, copy_kit, is_for
from vconnect.environments.locked import Locked
from vconnect.environments.python import ask_python
from vconnect.errors import InstallError


async def test_it_fits_the_same_build_of_python_only() -> None:
    own = await ask_python(sys.executable)
    assert is_for(own)
    assert not is_for(msgspec.structs.replace(own, tag="cpython-399"))
    assert not is_for(msgspec.structs.replace(own, abi="other"))


def test_a_plugin_can_be_written_with_it_alone(tmp_path: Path) -> None:
    copy_kit(tmp_path, ())
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import vconnect, orjson, msgspec\n"
        "from vconnect import ConfigError, Context, HostCallError, Plugin, on, run_plugin\n"
        "from vconnect.sdk import client, main, testing\n"
        "print(*(one.__file__.startswith(sys.argv[1]) for one in (vconnect, orjson, msgspec)))"
    )
    command = [sys.executable, "-I", "-S", "-c", code, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "True True True\n"


def test_what_the_plugin_has_locked_itself_is_left(tmp_path: Path) -> None:
    copy_kit(tmp_path, ("orjson",))
    assert not (tmp_path / "orjson").exists()
    assert (tmp_path / "msgspec").is_dir()
    assert next(tmp_path.glob("vconnect-*.dist-info")).joinpath("METADATA").is_file()


def test_dependencies_must_not_exclude_what_it_needs() -> None:
    check_libraries(Locked(inputs="", versions={"lib": "1.0", "orjson": "3.10.7"}))
    with pytest.raises(InstallError, match=r"have orjson 1\.0, and vconnect needs >=3"):
        check_libraries(Locked(inputs="", versions={"orjson": "1.0"}))
