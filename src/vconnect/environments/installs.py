"""Puts wheels into a directory, with uv where it is there, and with pip otherwise."""

# Both run in the interpreter that the environment is for, never in the environment itself: a `.pth`
# file of a package would be executed by that, outside of any sandbox. Neither builds anything.

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from .python import Python
from .tools import run_tool

# The pip of the interpreter, which comes with it; Debian has it elsewhere and says where.
_PIP = """
import runpy, sys
from pathlib import Path
try:
    import ensurepip
    own = Path(ensurepip.__file__).parent / "_bundled"
    places = [own, getattr(ensurepip, "_WHEEL_PKG_DIR", "")]
except ImportError:
    places = []
wheels = [wheel for place in places if place for wheel in Path(place).glob("pip-*.whl")]
if wheels:
    sys.path.insert(0, str(wheels[0]))
try:
    import pip
except ImportError:
    sys.exit("there is neither uv nor pip; use apt install python3-venv, or pip install uv")
sys.argv = ["pip", *sys.argv[1:]]
runpy.run_module("pip", run_name="__main__")
"""
_FROM_HOST = (
    *("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
)


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """Where wheels may come from.

    Attributes:
        directories: Directories of wheels.
        index: The address of a package index; empty to use none.
    """

    directories: tuple[Path, ...] = ()
    index: str = ""


def find_uv() -> str:
    """Return the path of uv, beside the host's Python or on the PATH; empty if it is not there."""
    places = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return shutil.which("uv", path=places) or ""


def pip_command(python: Python) -> list[str]:
    """Return the command that runs the pip of an interpreter."""
    return [python.executable, "-I", "-c", _PIP]


def tool_environment(scratch: Path, cache: Path) -> dict[str, str]:
    """Return the environment of uv or pip: nothing that the operator has set for themselves.

    Args:
        scratch: A directory for temporary files, which also takes the place of the home directory.
        cache: The cache of uv.
    """
    kept = {name: os.environ[name] for name in _FROM_HOST if name in os.environ}
    return {
        "PATH": os.defpath,
        "LC_ALL": "C.UTF-8",
        **kept,
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "XDG_CONFIG_HOME": str(scratch),
        "UV_CACHE_DIR": str(cache),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INPUT": "1",
        "NO_COLOR": "1",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


async def install_wheels(
    wanted: Sequence[str],
    target: Path,
    python: Python,
    origin: Origin,
    scratch: Path,
    cache: Path,
    *,
    uv: str | None = None,
) -> None:
    """Install wheels, without what they depend on.

    Args:
        wanted: What to install, as uv and pip take it: requirements, or ``-r`` and a file.
        target: The directory.
        python: The interpreter that they are for.
        origin: Where they may come from.
        scratch: A directory for temporary files.
        cache: The cache of uv, on the same file system as the target: from there, files are linked.
        uv: The path of uv; empty to use pip; by default uv if it is there.

    Raises:
        InstallError: One of them is missing or another one; the text has the tool's words.
    """
    uv = find_uv() if uv is None else uv
    common = ["--no-deps", "--only-binary", ":all:", "--target", str(target)]
    for directory in origin.directories:
        common += ["--find-links", str(directory)]
    common += ["--index-url", origin.index] if origin.index else ["--no-index"]
    if uv:
        offline = [] if origin.index else ["--offline"]
        argv = [uv, "pip", "install", "--quiet", "--python", python.executable]
        argv += ["--link-mode", "hardlink", *offline, *common, *wanted]
    else:
        argv = [*pip_command(python), "install", "--quiet", "--no-compile", "--no-cache-dir"]
        argv += ["--no-warn-script-location", *common, *wanted]
    await run_tool("installing the dependencies", argv, tool_environment(scratch, cache), scratch)
