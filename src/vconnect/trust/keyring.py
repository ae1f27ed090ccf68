"""``vconnect.trust``: whose signatures count here, and for what.

The file lies beside the configuration and is meant to be committed. It has one table per key.
Comments and what this version does not know in it are kept.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import msgspec

from vconnect.durable import read_own, replace_file
from vconnect.errors import ConfigError, SignatureError
from vconnect.names import is_below
from vconnect.safe_paths import find_danger

from .minisign import PublicKey, parse_public_key

FORMAT = 1
_MODE = 0o644
_HEAD = "# Written by vconnect. Commit it: it says whose signatures count.\n"


class TrustedKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One ``[[key]]``.

    Attributes:
        id: The key's number, 16 hex digits, as minisign shows it.
        key: The public key, as ``minisign -P`` takes it.
        comment: Whose it is.
        plugins: The plugins that it may sign, as patterns such as ``acme-*``; empty for all.
        sources: The beginnings of the sources that it may sign packages of; empty for all.
        added: When it was added.
        by: Who has added it.
        not_after: From when on it may sign nothing more.
        revoked: When it was revoked: nothing new that it has signed is installed, whatever date its
            signatures have.
        reason: Why it was revoked.
        succeeds: The key that has handed over to this one.
    """

    id: str
    key: str
    comment: str = ""
    plugins: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    added: datetime | None = None
    by: str = ""
    not_after: datetime | None = None
    revoked: datetime | None = None
    reason: str = ""
    succeeds: str = ""

    @property
    def public(self) -> PublicKey:
        """The key itself."""
        return parse_public_key(self.key, f"the key {self.id}")

    def problem(self, now: datetime | None = None) -> str:
        """Return why nothing new that it has signed counts; empty if it does."""
        now = now or datetime.now(UTC)
        if self.revoked is not None:
            return f"was revoked on {self.revoked:%Y-%m-%d}" + _because(self.reason)
        if self.not_after is not None and _aware(self.not_after) < now:
            return f"may sign nothing since {self.not_after:%Y-%m-%d} (not_after)"
        return ""

    def may_sign(self, plugin: str, source: str) -> str:
        """Return why it may not sign a package of a plugin from a place; empty if it may."""
        if self.plugins and not any(fnmatchcase(plugin, one) for one in self.plugins):
            return f"may sign {', '.join(self.plugins)}, and this is {plugin}"
        if self.sources and not any(is_below(source, one) for one in self.sources):
            return f"may sign packages from {', '.join(self.sources)}, and this is from {source}"
        return ""

    def names(self, plugin: str) -> bool:
        """Return whether its scope names the plugin, and not just any."""
        return any(one != "*" and fnmatchcase(plugin, one) for one in self.plugins)


class Keyring:
    """The trust file of a host. Every method blocks.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def keys(self) -> dict[str, TrustedKey]:
        """Return the keys by their numbers.

        Raises:
            ConfigError: The file cannot be read, is none, is of a newer vconnect, or others may
                write to it.
        """
        document = self._read()
        found: dict[str, TrustedKey] = {}
        for table in document.get("key", []):
            key = self._convert(table)
            if key.id in found:
                raise ConfigError(f"{self.path}: there are two tables of the key {key.id}")
            found[key.id] = key
        return found

    def problem_of(self, number: str) -> str:
        """Say that a key was revoked; empty if it was not, or is not known.

        Raises:
            ConfigError: See `keys`.
        """
        key = self.keys().get(number)
        return f"{key.id}, which {key.problem()}" if key is not None and key.revoked else ""

    def plan(self, key: TrustedKey) -> TrustedKey:
        """Return a key as it would be trusted: what is not said anew of a known one stays.

        Raises:
            ConfigError: It was revoked; or see `keys`.
        """
        known = self.keys().get(key.id)
        if known is None:
            return key
        if known.revoked is not None:
            raise ConfigError(
                f"{self.path}: the key {key.id} {known.problem()}; it cannot be trusted again"
            )
        fields = {
            name: getattr(key, name) or getattr(known, name)
            for name in ("comment", "plugins", "sources", "not_after", "succeeds")
        }
        return msgspec.structs.replace(key, **fields)

    def add(self, key: TrustedKey) -> TrustedKey:
        """Trust a key, and return what is known of it then; see `plan`.

        Raises:
            ConfigError: See `keys`; the file is left as it is.
        """
        planned = self.plan(key)
        self._put(planned)
        return planned

    def revoke(self, number: str, reason: str) -> TrustedKey:
        """Trust nothing new that a key has signed. Its table stays, so that it stays revoked.

        Raises:
            ConfigError: It is not known; or see `keys`.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        revoked = msgspec.structs.replace(self.find(number), revoked=now, reason=reason)
        self._put(revoked)
        return revoked

    def remove(self, number: str) -> TrustedKey:
        """Forget a key.

        Raises:
            ConfigError: It is not known; or see `keys`.
        """
        key = self.find(number)
        document = self._document()
        tables = document["key"]
        del tables[[table["id"] for table in tables].index(key.id)]
        if not tables:
            del document["key"]  # or it would be written as a list, to which no table can be added
        self._write(document)
        return key

    def find(self, number: str) -> TrustedKey:
        """Return a key by its number.

        Raises:
            ConfigError: It is not known; or see `keys`.
        """
        keys = self.keys()
        key = keys.get(number.upper())
        if key is None:
            known = ", ".join(keys) or "none"
            raise ConfigError(f"{self.path} has no key {number!r} (known: {known})")
        return key

    def _put(self, key: TrustedKey) -> None:
        import tomlkit

        document = self._document()
        tables = document.setdefault("key", tomlkit.aot())
        fields = msgspec.to_builtins(key, builtin_types=(datetime,))
        for table in tables:
            if table["id"] == key.id:
                table.update(fields)
                break
        else:
            added = tomlkit.table()
            added.update(fields)
            tables.append(added)
        self._write(document)

    def _document(self) -> Any:
        """Return the file as tomlkit has it, which keeps comments."""
        import tomlkit

        self.keys()  # what cannot be read is not written over
        if not self.path.exists():
            return tomlkit.parse(f"{_HEAD}format = {FORMAT}\n")
        return tomlkit.parse(read_own(self.path).decode())

    def _write(self, document: Any) -> None:
        import tomlkit

        text = tomlkit.dumps(document)
        # Read again as it will be found, before it takes the place of the old one.
        for table in tomllib.loads(text).get("key", []):
            self._convert(table)
        try:
            replace_file(self.path, text.encode(), _MODE)
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be written: {error.strerror}") from error

    def _read(self) -> dict[str, Any]:
        try:
            document = tomllib.loads(read_own(self.path).decode())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read: {error.strerror}") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{self.path}: is not a valid trust file: {error}") from None
        if danger := find_danger(self.path):
            raise ConfigError(f"{self.path} is not obeyed: {danger}; it decides what is trusted")
        written = document.get("format")
        if not isinstance(written, int) or written > FORMAT:
            raise ConfigError(
                f"{self.path}: format is {written!r}; this vconnect supports at most {FORMAT}"
            )
        return document

    def _convert(self, table: Any) -> TrustedKey:
        try:
            key = msgspec.convert(table, TrustedKey)
            number = key.public.id
        except (msgspec.ValidationError, SignatureError) as error:
            raise ConfigError(f"{self.path}: [[key]]: {error}") from None
        if number != key.id:
            raise ConfigError(f"{self.path}: [[key]]: the id is {key.id}, and the key has {number}")
        return key


def predecessors(number: str, keys: dict[str, TrustedKey]) -> Iterable[str]:
    """Yield the keys that have handed over to a key, the last one first."""
    seen = {number}
    while (key := keys.get(number)) is not None and key.succeeds and key.succeeds not in seen:
        number = key.succeeds
        seen.add(number)
        yield number


def _because(reason: str) -> str:
    return f": {reason}" if reason else ""


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
