"""The command line that starts a plugin."""

# An installed plugin is one executable; a plugin from source is started by the tool that its
# directory requires. Problems that can be detected before the process exists are explained here,
# rather than reported as an errno later.

from __future__ import annotations

import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from vconnect.errors import ManifestError, PluginStartError

from .manifest import MANIFEST_NAME, Manifest, read_manifest
from .platforms import problem_of_machine

# Runs a module in ``src``. `-m` only looks in the working directory, and setting PYTHONPATH would
# affect what the plugin starts.
_RUN_FROM_SRC = (
    "import runpy, sys; sys.path.insert(0, 'src'); "
    "runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"
)

# The kernel reads no more of it.
_MAX_FIRST_LINE = 256

_DEV_FILES = (
    f"dev.command in {MANIFEST_NAME}, Cargo.toml, plugin.py, "
    "pyproject.toml with a project.name, package.json, go.mod"
)


def production_command(plugin: str, path: Path, manifest: Manifest | None) -> list[str]:
    """Return the command that starts an installed plugin.

    It is ``PATH/PLUGIN`` if that is an executable file, else the manifest's ``entry``, else the
    only executable regular file in the directory.

    Args:
        plugin: The plugin's canonical name.
        path: The plugin's directory.
        manifest: The plugin's manifest, or ``None``.

    Raises:
        PluginStartError: There is no such file, more than one, or it is not executable.
    """
    with _os_errors_in_words(plugin):
        _check_directory(plugin, path)
        # First, because packages of the original host have no manifest and rely on this rule.
        own = path.absolute() / plugin
        if own.is_file() and os.access(own, os.X_OK):
            file = own
        elif manifest is not None and manifest.entry:
            file = _entry(plugin, path, manifest.entry)
        else:
            file = _only_executable(plugin, path)
        _check_head(plugin, file)
        return [str(file)]


def check_program(plugin: str, file: Path) -> None:
    """Refuse a program that could not be started.

    Args:
        plugin: The plugin's canonical name.
        file: The program.

    Raises:
        PluginStartError: It is not an executable file, or a script whose first line is wrong.
    """
    with _os_errors_in_words(plugin):
        _check_executable(plugin, file)
        _check_head(plugin, file)


def dev_command(plugin: str, path: Path) -> list[str]:
    """Return the command that starts a plugin from its source directory.

    It is the first of these that applies:

    * ``dev.command`` of the manifest, unchanged;
    * ``Cargo.toml``: ``cargo run``;
    * ``plugin.py``: run by this Python;
    * ``pyproject.toml`` with a ``project.name``: the module of that name (``-`` and ``.`` replaced
      by ``_``), run by this Python, from ``src/`` if it is there;
    * ``package.json``: ``npm start`` if it has that script, else ``node`` with its ``main``;
    * ``go.mod``: ``go run .``

    The command must be run in ``path``.

    Args:
        plugin: The plugin's canonical name.
        path: The source directory.

    Raises:
        PluginStartError: Nothing applies, the manifest is invalid, or the tool is not installed.
    """
    with _os_errors_in_words(plugin):
        _check_directory(plugin, path)
        for rule in _DEV_RULES:
            if command := rule(plugin, path.absolute()):
                return command
    raise PluginStartError(
        plugin, f"{path} contains nothing that can be started; looked for: {_DEV_FILES}"
    )


def host_arguments(socket_path: str, debug: bool, log_level: str | None) -> list[str]:
    """Return the arguments for every plugin. There are no others: plugins reject unknown ones."""
    arguments = ["--socket", socket_path]
    if debug:
        arguments.append("--debug")
    if log_level is not None:
        arguments += ["--log-level", log_level]
    return arguments


@contextmanager
def _os_errors_in_words(plugin: str) -> Iterator[None]:
    """Turn errors of the file system, including cycles of links, into `PluginStartError`."""
    try:
        yield
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise PluginStartError(plugin, f"{where}{error.strerror or error}") from error
    except RuntimeError as error:  # Path.resolve up to Python 3.12
        raise PluginStartError(plugin, str(error)) from error


def _check_directory(plugin: str, path: Path) -> None:
    if not path.exists():
        raise PluginStartError(plugin, f"{path} does not exist")
    if not path.is_dir():
        raise PluginStartError(plugin, f"{path} is not a directory")


def _entry(plugin: str, path: Path, entry: str) -> Path:
    file = path.absolute() / entry
    # Resolved, because a link inside the package may lead anywhere.
    if not file.resolve().is_relative_to(path.resolve()):
        raise PluginStartError(
            plugin, f"entry {entry!r} leads outside the package, to {file.resolve()}"
        )
    _check_executable(plugin, file)
    return file


def _check_executable(plugin: str, file: Path) -> None:
    if not file.exists():
        leads = f" is a link to {file.readlink()}, which" if file.is_symlink() else ""
        raise PluginStartError(plugin, f"{file}{leads} does not exist")
    if file.is_dir():
        raise PluginStartError(plugin, f"{file} is a directory; expected an executable file")
    if not file.is_file():
        raise PluginStartError(plugin, f"{file} is not a regular file")
    if not os.access(file, os.X_OK):
        raise PluginStartError(plugin, f"{file} is not executable; try: chmod +x {file}")


def _check_head(plugin: str, file: Path) -> None:
    """Refuse a program for another machine, and a script whose first line ends as on Windows."""
    if problem := problem_of_machine(file):
        raise PluginStartError(plugin, problem)
    try:
        with file.open("rb", buffering=0) as script:  # each start does this: one read, no buffer
            line = script.read(_MAX_FIRST_LINE).partition(b"\n")[0]
    except OSError:
        return  # a program may be executable, but not readable
    if line.startswith(b"#!") and line.endswith(b"\r"):
        raise PluginStartError(
            plugin,
            f"the first line of {file} ends with a carriage return (CRLF), which would become part "
            f"of the interpreter's name; try: sed -i 's/\\r$//' {file}",
        )


def _only_executable(plugin: str, path: Path) -> Path:
    found = sorted(filter(_is_candidate, path.absolute().iterdir()))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise PluginStartError(
            plugin,
            f"{path} contains more than one executable file ({names}); "
            f"rename one of them to {plugin!r}, or set 'entry' in {MANIFEST_NAME}",
        )
    # A file with the right name that lacks the permission is the most likely mistake.
    own = path / plugin
    if own.exists() or own.is_symlink():
        _check_executable(plugin, own)
    raise PluginStartError(
        plugin,
        f"{path} contains no executable file; expected {own}, or an 'entry' in {MANIFEST_NAME}",
    )


def _is_candidate(file: Path) -> bool:
    # macOS writes "._name" next to "name", with the same permissions.
    if file.name.startswith("._") or file.is_symlink() or not file.is_file():
        return False
    return os.access(file, os.X_OK)


def _manifest_command(plugin: str, path: Path) -> list[str] | None:
    file = path / MANIFEST_NAME
    if not file.exists():
        return None
    try:
        command = list(read_manifest(file).dev.command)
    except ManifestError as error:
        raise PluginStartError(plugin, str(error)) from error
    if command:
        command[0] = _program(plugin, path, command[0])
    return command


def _program(plugin: str, path: Path, program: str) -> str:
    """Resolve a program given as a path against the package; look up any other on PATH."""
    if "/" not in program:
        return _tool(plugin, program, f"dev.command in {MANIFEST_NAME}")
    _check_executable(plugin, path / program)
    _check_head(plugin, path / program)
    return str(path / program)


def _cargo_command(plugin: str, path: Path) -> list[str] | None:
    file = path / "Cargo.toml"
    if not file.is_file():
        return None
    # The last argument separates cargo's arguments from the plugin's.
    return [_tool(plugin, "cargo", file.name), "run", "--manifest-path", str(file), "--"]


def _python_command(plugin: str, path: Path) -> list[str] | None:
    if (path / "plugin.py").is_file():
        # The host's own Python, which has the SDK.
        return [sys.executable, "plugin.py"]
    name = _project_name(plugin, path / "pyproject.toml")
    if name is None:
        return None
    module = name.replace("-", "_").replace(".", "_")
    source = path / "src" / module
    if source.is_dir() or source.with_suffix(".py").is_file():
        return [sys.executable, "-c", _RUN_FROM_SRC.format(module=module)]
    return [sys.executable, "-m", module]


def _project_name(plugin: str, file: Path) -> str | None:
    if not file.is_file():
        return None
    try:
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project")
    except (OSError, ValueError) as error:
        raise PluginStartError(plugin, f"{file}: cannot be read: {error}") from None
    name = project.get("name") if isinstance(project, dict) else None
    return name if isinstance(name, str) and name else None


def _node_command(plugin: str, path: Path) -> list[str] | None:
    file = path / "package.json"
    if not file.is_file():
        return None
    package = _read_package_json(plugin, file)
    scripts = package.get("scripts")
    if isinstance(scripts, dict) and scripts.get("start"):
        return [_tool(plugin, "npm", file.name), "start", "--"]
    # The defaults of Node itself: index.js, and a main without its extension.
    main = str(package.get("main") or "index.js")
    if not any((path / name).exists() for name in (main, f"{main}.js")):
        raise PluginStartError(
            plugin, f"{file} has no scripts.start, and its main, {path / main}, does not exist"
        )
    return [_tool(plugin, "node", file.name), main]


def _read_package_json(plugin: str, file: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError) as error:
        raise PluginStartError(plugin, f"{file}: cannot be read: {error}") from None


def _go_command(plugin: str, path: Path) -> list[str] | None:
    if not (path / "go.mod").is_file():
        return None
    return [_tool(plugin, "go", "go.mod"), "run", "."]


def _tool(plugin: str, name: str, reason: str) -> str:
    if shutil.which(name) is None:
        raise PluginStartError(
            plugin,
            f"{name} is not on the PATH; {reason} requires it: install it or extend the PATH",
        )
    return name


# In order; documented in `dev_command`.
_DEV_RULES: tuple[Callable[[str, Path], list[str] | None], ...] = (
    _manifest_command,
    _cargo_command,
    _python_command,
    _node_command,
    _go_command,
)
