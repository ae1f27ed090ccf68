"""Which files of a plugin's directory go into its package, and why the others do not."""

from __future__ import annotations

import fnmatch
import re
import stat
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import msgspec

from vconnect.errors import InstallError
from vconnect.ignored import IgnoreFiles, Patterns
from vconnect.validation import Fault

from .archive import PACKAGE_SUFFIXES, ArchiveLimits, is_litter

_GIT_RULES, _OWN_RULES = ".gitignore", ".vpignore"

# In the syntax of .gitignore, and ranked below those files, which may take something back.
_BUILT_IN = [
    *(".git", _GIT_RULES, _OWN_RULES, "__pycache__/", "*.pyc", ".venv/", "venv/"),
    *(".mypy_cache/", ".pytest_cache/", ".ruff_cache/", "node_modules/.cache/"),
    "/target/",  # cargo's; below, it may be anything
    # Packages, and what is written beside them.
    *(f"*{suffix}{more}" for suffix in PACKAGE_SUFFIXES for more in ("", ".sha256", ".minisig")),
]

# What is secret by its name. A pattern that begins with "!" names an example.
_SECRET_NAMES = [
    *(".env*", "!.env*.example", "!.env*.sample", "!.env*.template"),
    *("*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore"),
    # Keys of ssh, whatever follows; a source or a directory may begin like that as well.
    *("id_*", "!id_*.*", "!id_*/", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "!id_*.pub"),
    *(".netrc", ".pgpass", ".htpasswd", "credentials*.json", "service-account*.json"),
]
# Files that are secret only if they contain this.
_SECRET_IF = {".npmrc": re.compile(rb"_auth|_password"), ".pypirc": re.compile(rb"password")}
# What is secret in any file: keys, and tokens of services that are easy to tell.
_SECRET_CONTENTS = re.compile(
    rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----\s"
    rb"|^untrusted comment:.*secret key|\bRW(?:RTY0Iy|QAAEIy)[A-Za-z0-9+/]{150,}"
    rb"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36}\b|\bgithub_pat_[A-Za-z0-9_]{50,}"
    rb"|\bxox[bp]-[0-9]{10,}-",
    re.MULTILINE,
)
_LOOKED_AT_BYTES = 64 * 1024
_MAX_DEPTH = ArchiveLimits().depth


class LeftOut(msgspec.Struct, frozen=True):
    """A file or directory that is not packed.

    Attributes:
        path: Its path relative to the plugin's directory; a directory's ends in a slash.
        reason: Why, such as ``line 3 of .gitignore (dist/)``.
        is_secret: Whether it looks like a secret, so that the author should know.
    """

    path: str
    reason: str
    is_secret: bool = False


class Selection(msgspec.Struct, frozen=True):
    """What a package is made of.

    Attributes:
        members: The files and directories to pack, relative to the plugin's directory, sorted.
        left_out: Those that are not packed. What is in such a directory is not listed.
        faults: What cannot be packed, and may not be left out in silence either.
    """

    members: tuple[Path, ...]
    left_out: tuple[LeftOut, ...]
    faults: tuple[Fault, ...] = ()

    def why_left_out(self, path: str) -> LeftOut | None:
        """Return what leaves a path out, by itself or with its directory; ``None`` if nothing."""
        wanted = PurePosixPath(path)
        for left in self.left_out:
            if wanted == PurePosixPath(left.path) or (
                left.path.endswith("/") and wanted.is_relative_to(left.path)
            ):
                return left
        return None


def select(source: Path, include: Sequence[str] = ()) -> Selection:
    """Decide what of a plugin's directory is packed, all of which can be. Blocks.

    Raises:
        InstallError: See `survey`; or the directory contains something that cannot be packed, a
            file of rules is invalid, or a file contains a key.
    """
    selection = survey(source, include)
    for fault in selection.faults:
        raise InstallError(str(fault))
    return selection


def survey(source: Path, include: Sequence[str] = ()) -> Selection:
    """Decide what of a plugin's directory is packed, and find what cannot be. Blocks.

    Left out are, with a later rule overriding the earlier ones: what is built in, the rules of
    ``.gitignore`` and those of ``.vpignore`` in each directory. Secrets and virtual environments
    are left out whatever these say. Only ``include`` adds to all that.

    Args:
        source: The directory.
        include: Paths relative to it that are packed in any case, with what is in them.

    Raises:
        InstallError: An included path does not exist.
    """
    return _Walk(source, include).run()


class _Walk:
    """One walk through a directory."""

    def __init__(self, source: Path, include: Sequence[str]) -> None:
        self._source = source
        self._include = [_included(source, path) for path in include]
        self._built_in = Patterns(_BUILT_IN, "the built-in rules")
        self._secret_names = Patterns(_SECRET_NAMES, "the rules about secrets")
        self._rules = IgnoreFiles([_GIT_RULES, _OWN_RULES])
        self._members: list[Path] = []
        self._left_out: list[LeftOut] = []
        self._faults: list[Fault] = []

    def run(self) -> Selection:
        self._enter("", "")
        self._faults += [Fault(str(self._source), problem) for problem in self._rules.slow()]
        return Selection(tuple(sorted(self._members)), tuple(self._left_out), tuple(self._faults))

    def _enter(self, relative: str, inherited: str, *, only_included: bool = False) -> bool:
        """Look at what is in a directory, and return whether any of it is packed.

        Args:
            relative: The directory's path.
            inherited: Why the directory itself is left out, which holds for what has no own rule.
            only_included: Whether no rule takes anything in it back.
        """
        problems = self._rules.enter(self._source, relative)
        self._faults += [Fault(str(self._source), problem) for problem in problems]
        found = False
        try:
            items = sorted((self._source / relative).iterdir())
        except OSError as error:
            self._refuse(self._source / relative, f"cannot be read: {error.strerror}")
            return True
        for item in items:
            path = f"{relative}/{item.name}" if relative else item.name
            # An installation would skip it.
            if not is_litter(item.name):
                found |= self._look(item, path, inherited, only_included)
        return found

    def _refuse(self, item: Path, words: str) -> None:
        self._faults.append(Fault(str(item), words))

    def _look(self, item: Path, path: str, inherited: str, only_included: bool) -> bool:
        mode = item.lstat().st_mode
        is_directory = stat.S_ISDIR(mode)
        reason = secret = ""
        if not any(path == one or path.startswith(f"{one}/") for one in self._include):
            reason = inherited if only_included else self._why(path, inherited, is_directory)
            secret = "" if reason else self._secret(item, path, is_directory)
        if is_directory:
            return self._look_into(path, reason or secret, is_secret=bool(secret))
        if reason or secret:
            self._left_out.append(LeftOut(path, reason or secret, is_secret=bool(secret)))
            return False
        if stat.S_ISREG(mode):
            self._members.append(Path(path))
        else:
            self._refuse(item, _not_packable(mode))
        return True

    def _look_into(self, path: str, reason: str, *, is_secret: bool) -> bool:
        has_included = any(one.startswith(f"{path}/") for one in self._include)
        # Git cannot take something back from a directory that is left out. Here it can, because
        # what is built there is usually what starts.
        takes_back = not is_secret and self._rules.takes_back(_OWN_RULES)
        begun = len(self._left_out)
        if not reason or has_included or takes_back:
            only_included = bool(reason) and not takes_back
            if path.count("/") >= _MAX_DEPTH:
                self._refuse(self._source / path, f"is more than {_MAX_DEPTH} directories deep")
                return True
            if self._enter(path, reason, only_included=only_included) or not reason:
                self._members.append(Path(path))
                return True
        # As a whole, rather than each thing in it.
        del self._left_out[begun:]
        self._left_out.append(LeftOut(f"{path}/", reason, is_secret=is_secret))
        return False

    def _why(self, path: str, inherited: str, is_directory: bool) -> str:
        """Return the rule that leaves a path out, or an empty text."""
        rule = self._rules.rule_of(_OWN_RULES, path, is_directory=is_directory)
        if rule is None and inherited:
            return inherited
        if rule is None:
            rule = self._rules.rule_of(_GIT_RULES, path, is_directory=is_directory)
        if rule is None:
            rule = self._built_in.rule(path, is_directory=is_directory)
        return str(rule) if rule is not None and rule.ignores else ""

    def _secret(self, item: Path, path: str, is_directory: bool) -> str:
        """Return why a path looks like a secret or an environment; empty if it does not."""
        if is_directory and (item / "pyvenv.cfg").exists():
            return "is a virtual environment"
        named = self._secret_names.rule(item.name, is_directory=is_directory)
        if named is not None and named.ignores:
            if not is_directory and _holds_certificates_only(item):
                return ""
            return "looks like a secret"
        if is_directory or item.is_symlink() or not item.is_file():
            return ""
        try:
            head = _head(item)
        except OSError as error:
            self._refuse(item, f"cannot be read: {error.strerror}")
            return ""
        condition = _SECRET_IF.get(item.name)
        if condition is not None and condition.search(head):
            return "contains a token"
        if _SECRET_CONTENTS.search(head):
            # Not left out in silence: a plugin without one of its sources would not run.
            self._refuse(
                item,
                "contains what looks like a private key or a token; "
                f"leave it out with a line in {_OWN_RULES}, or pack it with --include {path}",
            )
        return ""


def _included(source: Path, path: str) -> str:
    """Return an included path in the form of those that are compared with it."""
    relative = PurePosixPath(path)
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise InstallError(f"--include {path}: expected a path below {source}")
    if not (source / relative).exists():
        raise InstallError(f"--include {path}: {source / relative} does not exist")
    return str(relative)


def _holds_certificates_only(file: Path) -> bool:
    """Return whether a ``.pem`` is not a secret: libraries ship such files."""
    if not fnmatch.fnmatch(file.name, "*.pem") or not file.is_file():
        return False
    contents = file.read_bytes()
    return b"-----BEGIN CERTIFICATE-----" in contents and b"PRIVATE KEY" not in contents


def _head(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_LOOKED_AT_BYTES)


def _not_packable(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return (
            "is a symbolic link, which a package must not contain; replace it with the file "
            "(for node_modules/.bin: npm install --no-bin-links)"
        )
    return "is neither a regular file nor a directory; a package must not contain anything else"
