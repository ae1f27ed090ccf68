"""``vconnect new``: writes the files of a new plugin project."""

# The templates are in `templates/LANGUAGE`. A file `X.tmpl` becomes `X` with its `${…}` replaced;
# any other is copied unchanged. `dot-X` becomes `.X`, because packaging tools may ignore hidden
# files.

from __future__ import annotations

import keyword
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from string import Template

from vconnect.errors import ConfigError
from vconnect.names import NAME_RULE, PREFIXES, canonical_name, may_be_named

LANGUAGES = ("python", "rust")

_TEMPLATES = Path(__file__).with_name("templates")
_TEMPLATE_SUFFIX = ".tmpl"
_HIDDEN_PREFIX = "dot-"
_TOML_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
# Cargo rejects or warns about these package names: standard crates, and directories of its own.
_NOT_CRATE_NAMES = frozenset({"test", "core", "std", "alloc", "proc_macro", "deps", "build"})


def create_project(name: str, directory: Path, language: str = "python") -> list[Path]:
    """Write a complete, runnable project for the plugin ``name``, or nothing.

    Args:
        name: The plugin's name, with or without a prefix such as ``wk.plugin.``.
        directory: The project's directory, which must be empty or not exist.
        language: One of `LANGUAGES`.

    Returns:
        The files written, sorted.

    Raises:
        ConfigError: The name, the directory or the language is not allowed, or writing failed.
    """
    plugin = canonical_name(name)
    if not may_be_named(plugin):
        raise ConfigError(f"the name is {name!r}; expected {NAME_RULE}")
    if language not in LANGUAGES:
        raise ConfigError(f"the language is {language!r}; expected one of: {', '.join(LANGUAGES)}")
    _check_vacant(directory)
    try:
        return _write_project(directory, language, _placeholders(name))
    except OSError as error:
        raise ConfigError(f"cannot write {directory}: {error.strerror}") from error


def _check_vacant(directory: Path) -> None:
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise ConfigError(f"{directory} exists and is not a directory; use another path")
    if directory.is_dir() and any(directory.iterdir()):
        raise ConfigError(f"{directory} is not empty; use a new directory, or empty this one")


def _write_project(directory: Path, language: str, values: Mapping[str, str]) -> list[Path]:
    directory.parent.mkdir(parents=True, exist_ok=True)
    # In the target's parent directory, so that the rename at the end stays on one file system.
    staging = Path(tempfile.mkdtemp(prefix=".vconnect-new-", dir=directory.parent))
    try:
        # One level down, because mkdtemp creates a private directory, which a project's is not.
        project = staging / "project"
        written = [_write_file(project, *file) for file in _render(language, values)]
        project.replace(directory)  # atomic; replaces an empty directory
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return sorted(directory / path for path in written)


def _render(language: str, values: Mapping[str, str]) -> Iterator[tuple[Path, str]]:
    """Yield each file's path in the project, and its text."""
    root = _TEMPLATES / language
    for source in sorted(path for path in root.rglob("*") if path.is_file()):
        text = source.read_text(encoding="utf-8")
        if source.suffix == _TEMPLATE_SUFFIX:
            text = Template(text).substitute(values)
        yield _target(source.relative_to(root)), text


def _target(source: Path) -> Path:
    name = source.name.removesuffix(_TEMPLATE_SUFFIX)
    if name.startswith(_HIDDEN_PREFIX):
        name = "." + name.removeprefix(_HIDDEN_PREFIX)
    return source.with_name(name)


def _write_file(project: Path, path: Path, text: str) -> Path:
    target = project / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text, encoding="utf-8")
    if text.startswith("#!"):
        mode = target.stat().st_mode
        target.chmod(mode | (mode & 0o444) >> 2)  # executable for everyone who can read it
    return path


def _placeholders(name: str) -> dict[str, str]:
    plugin = canonical_name(name)
    return {
        "name": plugin,
        "plugin_no": name if name != plugin else PREFIXES[0] + plugin,
        "class_name": _class_name(plugin),
        "crate_name": _crate_name(plugin),
        "config_key": plugin if _TOML_BARE_KEY.fullmatch(plugin) else f'"{plugin}"',
    }


def _class_name(plugin: str) -> str:
    """Turn a plugin's name into a class name, which is never `Plugin` or a keyword.

    >>> _class_name("auto-reply")
    'AutoReply'
    """
    words = [word for word in re.split(r"[._-]+", plugin) if word]
    name = "".join(word[0].upper() + word[1:] for word in words)
    if not name or name[0].isdigit():
        return f"My{name}Plugin"
    # The template imports or defines these names itself.
    taken = name in ("Context", "Plugin", "Settings") or keyword.iskeyword(name)
    return f"My{name}" if taken else name


def _crate_name(plugin: str) -> str:
    """Turn a plugin's name into a package name that Cargo allows.

    >>> _crate_name("1st.plugin")
    'plugin-1st-plugin'
    """
    name = plugin.replace(".", "-").strip("-") or "plugin"
    if name[0].isdigit() or name in _NOT_CRATE_NAMES or not name.strip("_-"):
        return f"plugin-{name}"
    return name
