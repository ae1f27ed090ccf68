"""Makes the paths in the settings absolute, once, when the settings are loaded."""

# Paths in the file are relative to the file's directory; those from the command line, the
# environment and the defaults are relative to the working directory. Nothing later expands `~`
# again.

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vconnect.errors import ConfigError
from vconnect.names import split_request

_PATHS = (
    *("plugin_dir", "socket_path", "admin_path", "log_dir", "state_dir", "cgroup_dir"),
    *("lock_file", "trust_file", "python_sdk_wheels"),
    *("http_token_file", "http_view_token_file"),
)
_LISTS = ("sandbox_read",)
# As in ``file:/path``, or in a URL that lacks a slash.
_ONE_SLASH = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/(?!/)")


def absolute_path(path: str | Path, base: Path | None = None) -> Path:
    """Expand ``~`` and make a path absolute, without following symbolic links.

    Args:
        path: The path as written.
        base: The directory that it is relative to; by default the working directory.

    Raises:
        ConfigError: It begins with ``~``, and there is no home directory; or it is relative to a
            working directory that has been deleted.
    """
    expanded = expand_home(path)
    joined = expanded if base is None else base / expanded
    try:
        return Path(os.path.abspath(joined))  # noqa: PTH100 - resolve() would follow symbolic links
    except FileNotFoundError:  # only the working directory is looked up
        raise ConfigError(
            f"{path} is a relative path, but the working directory has been deleted; go to another "
            "directory, or use an absolute path"
        ) from None


def expand_home(path: str | Path) -> Path:
    """Expand ``~`` and ``~user``.

    Raises:
        ConfigError: It begins with ``~``, and there is no home directory: a container may run with
            a user ID that has no name, and without ``HOME``.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        owner = str(path).partition("/")[0][1:]
        who = f"user {owner!r}" if owner else f"user {os.getuid()}"
        remedy = "" if owner else "set HOME, or "
        raise ConfigError(
            f"no home directory for {who}: {remedy}use an absolute path instead of {path}"
        ) from None


def absolute_paths(table: Mapping[str, Any], base: Path | None = None) -> dict[str, Any]:
    """Make all paths in a table of settings absolute. Values of a wrong type stay unchanged."""
    return {key: _absolute_value(key, value, base) for key, value in table.items()}


def _absolute_value(key: str, value: Any, base: Path | None) -> Any:
    # Validation comes later, and reports what is skipped here for its type.
    if key in _PATHS and isinstance(value, str) and not (key == "lock_file" and not value):
        return str(absolute_path(value, base))
    if key == "python" and isinstance(value, str) and "/" in value:  # else a name on the PATH
        return str(absolute_path(value, base))
    if key in _LISTS and _is_list(value):
        return [str(absolute_path(path, base)) for path in value]
    if key == "install" and _is_list(value):
        return [_absolute_source(source, base) for source in value]
    if key == "dev_plugins" and _is_list(value):
        return [_absolute_dev_plugin(text, base) for text in value]
    if key == "sources" and isinstance(value, dict):
        return {_absolute_place(name, base): options for name, options in value.items()}
    if key == "options" and isinstance(value, dict):
        return {name: _absolute_options(options, base) for name, options in value.items()}
    return value


def _absolute_options(options: Any, base: Path | None) -> Any:
    if not isinstance(options, dict):
        return options
    files = options.get("secrets")
    if isinstance(files, dict):
        absolute = {
            name: str(absolute_path(path, base)) if isinstance(path, str) else path
            for name, path in files.items()
        }
        options = options | {"secrets": absolute}
    return absolute_paths(options, base)


def _absolute_source(source: str, base: Path | None) -> str:
    # Only paths change; a URL stays as it is, and so does NAME@RANGE of an index.
    if split_request(source.partition("#sha256=")[0]) is not None:
        return source
    scheme, separator, rest = source.partition("://")
    if not separator:
        # A URI with one slash has an absolute path, or is a mistake to be reported as it is.
        return source if _ONE_SLASH.match(source) else str(absolute_path(source, base))
    if scheme.lower() != "file" or rest.startswith("localhost/"):
        return source
    return f"file://{absolute_path(rest, base)}"


def _absolute_place(place: Any, base: Path | None) -> Any:
    """Return the beginning of sources as `Source.place` spells them."""
    if not isinstance(place, str) or ("://" in place and not place.startswith("file://")):
        return place
    return str(absolute_path(place.removeprefix("file://"), base))


def _absolute_dev_plugin(text: str, base: Path | None) -> str:
    name, colon, path = text.partition(":")
    return f"{name}:{absolute_path(path, base)}" if colon and path else text


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
