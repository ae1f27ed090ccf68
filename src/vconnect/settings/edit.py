"""Changes single values of a configuration file, and keeps everything else as it was written."""

# tomlkit keeps comments and order, and sometimes puts a key into the wrong table. So its result is
# read again and compared with what was intended; if they differ, nothing is written, and the
# operator is told the lines to add by hand.

from __future__ import annotations

import codecs
import os
import re
import stat
import tomllib
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from vconnect.durable import read_own, replace_file
from vconnect.errors import ConfigError, ConflictError
from vconnect.names import canonical_name
from vconnect.safe_paths import find_danger
from vconnect.validation import without_mark

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

# A text in TOML, which may have a "#" in it.
_TEXT = re.compile(r'"{3}.*?"{3}|' r"'{3}.*?'{3}|" r'"(?:\\.|[^"\\])*"|' r"'[^']*'", re.DOTALL)

#: A place, and its new value; ``msgspec.UNSET`` removes it.
Edit = tuple[tuple[str, ...], Any]


class FileEdit(msgspec.Struct, frozen=True, kw_only=True):
    """A change of a file that is worked out and not yet written.

    Attributes:
        file: The file; of a link, what it leads to.
        before: Its contents until now.
        after: Its new contents.
    """

    file: Path
    before: bytes
    after: bytes

    def write(self) -> None:
        """Replace the file, with its mode and its owner. Blocks.

        Raises:
            ConflictError: It was changed meanwhile.
            ConfigError: It cannot be written.
        """
        try:
            if read_own(self.file) != self.before:
                raise ConflictError(f"{self.file} was changed meanwhile; nothing is written")
            if self.after == self.before:
                return
            status = self.file.stat()
            replace_file(self.file, self.after, stat.S_IMODE(status.st_mode))
            with suppress(PermissionError):  # only root can give a file away
                os.chown(self.file, status.st_uid, status.st_gid)
        except OSError as error:
            raise ConfigError(f"{self.file}: cannot be written: {error.strerror}") from error


def edit_config(
    file: Path,
    plugin: str,
    names: Sequence[str],
    edits: Iterable[Edit],
    *,
    insecure_paths: bool = False,
) -> FileEdit:
    """Work out a change of a plugin's table in a configuration file. Blocks on reading it.

    Args:
        file: The file.
        plugin: The plugin's canonical name, for a table that is not there yet.
        names: All names that the table may have.
        edits: Places in the table, and their new values.
        insecure_paths: Whether other users may be able to change the file.

    Raises:
        ConfigError: The file cannot be read, or changed without harm to the rest of it; or others
            can change it.
    """
    target = file.resolve()
    if not insecure_paths and (danger := find_danger(file)):
        raise ConfigError(f"{file} is not obeyed: {danger}, so nothing is written to it")
    try:
        before = read_own(target)
        text = without_mark(before, str(file)).decode()
        document = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from error
    changes = list(edits)
    name = _name_in(document, plugin, names)
    above = ("plugins", "config", name)
    after = edit_text(text, [((*above, *path), value) for path, value in changes], str(file))
    mark = codecs.BOM_UTF8 if before.startswith(codecs.BOM_UTF8) else b""
    return FileEdit(file=target, before=before, after=mark + after.encode())


def edit_text(text: str, edits: Sequence[Edit], origin: str) -> str:
    """Change values in the text of a TOML file.

    Args:
        text: The text, valid TOML.
        edits: The places from the root, and their new values.
        origin: The file's name, for messages.

    Raises:
        ConfigError: The change would harm the rest of the file; the text has the lines to add.
    """
    import tomlkit  # only here: nobody else needs it, and it takes long to load
    from tomlkit.exceptions import TOMLKitError

    intended = tomllib.loads(text)
    for path, value in edits:
        _apply(intended, path, value)
    # A line end of its own would stand in a file that has others.
    newline = "\r\n" if "\r\n" in text else "\n"
    try:
        document = tomlkit.parse(text)
        has_comments = any(_has_comments(document, path) for path, _ in edits)
        for path, value in edits:
            _apply_to_document(document, path, value)
        result = tomlkit.dumps(document).replace("\r\n", "\n").replace("\n", newline)
        is_right = not has_comments and tomllib.loads(result) == intended
    except (TOMLKitError, tomllib.TOMLDecodeError, KeyError, TypeError, ValueError):
        is_right = False
    if not is_right:
        raise ConfigError(
            f"{origin}: cannot be changed without harm to the rest of it; change it by hand: "
            + "; ".join(_by_hand(path, value) for path, value in edits)
        )
    return result


def _name_in(document: Any, plugin: str, names: Sequence[str]) -> str:
    """Return the name that the plugin's table has in the file."""
    tables = document.get("plugins", {}).get("config", {}) if isinstance(document, dict) else {}
    wanted = {canonical_name(name) for name in names}
    return next((name for name in tables if canonical_name(name) in wanted), plugin)


def _apply(table: Any, path: tuple[str, ...], value: Any) -> None:
    """Set or remove a value in nested dictionaries."""
    *above, last = path
    for key in above:
        inner = table.get(key)
        if not isinstance(inner, dict):
            if value is msgspec.UNSET:
                return
            inner = table[key] = {}
        table = inner
    if value is msgspec.UNSET:
        table.pop(last, None)
    else:
        table[last] = value


def _has_comments(document: TOMLDocument, path: tuple[str, ...]) -> bool:
    """Return whether there are comments inside of a value, which another value would not have."""
    from tomlkit.items import Array

    value: Any = document
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return isinstance(value, Array) and "#" in _TEXT.sub("", value.as_string())


def _apply_to_document(document: TOMLDocument, path: tuple[str, ...], value: Any) -> None:
    """Set or remove a value in a document, with new tables where there are none."""
    import tomlkit

    *above, last = path
    table: Any = document
    for depth, key in enumerate(above):
        inner = table.get(key)
        if not isinstance(inner, dict):
            if value is msgspec.UNSET:
                return
            # Without a header of its own if only tables are in it.
            table[key] = tomlkit.table(is_super_table=depth < len(above) - 1)
            inner = table[key]
        table = inner
    if value is not msgspec.UNSET:
        table[last] = value
    elif last in table:
        del table[last]


def _by_hand(path: tuple[str, ...], value: Any) -> str:
    import tomlkit

    *above, last = path
    header = ".".join(_quoted(key) for key in above)
    if value is msgspec.UNSET:
        return f"in [{header}], remove {_quoted(last)}"
    line = f"{_quoted(last)} = {tomlkit.item(value).as_string()}"
    return f"in [{header}], write {line}"


def _quoted(key: str) -> str:
    import tomlkit

    return tomlkit.key(key).as_string()
