"""Commands about indexes: make one, and look plugins up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vconnect.cli.context import settings_for
from vconnect.cli.exit_codes import FAILED
from vconnect.cli.forms import IndexFault
from vconnect.cli.options import config_option
from vconnect.cli.output import print_json
from vconnect.cli.printing_index import print_built, print_hits, print_info, print_package
from vconnect.errors import SignatureError
from vconnect.names import PACKAGE_SUFFIXES, split_request

from .control import RunningHost, asks_host, check_word
from .signing import password_option, read_key, sign_file

if TYPE_CHECKING:
    from vconnect.index.build import Built
    from vconnect.trust.keyring import TrustedKey
    from vconnect.trust.minisign import SecretKey

# So that a date can be computed with it.
_MAX_DAYS = 36_500

_directory = click.argument(
    "directory",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
)
_sign = click.option(
    "--sign",
    "key_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="KEY",
    help="Sign the index with this secret key.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


@click.group()
def index() -> None:
    """Make an index of packages, which any web server can serve."""


@index.command()
@_directory
@click.option("--name", metavar="TEXT", help="What the index is called.  [default: as before]")
@_sign
@password_option
@click.option(
    "--expires",
    type=click.IntRange(0, _MAX_DAYS),
    metavar="DAYS",
    help="After how many days it counts as an old copy; 0 is never.  [default: as before]",
)
@click.option("--replace", is_flag=True, help="Accept other bytes for versions that it had before.")
@config_option
@_json
def build(
    directory: Path,
    name: str | None,
    key_path: Path | None,
    password_file: Path | None,
    expires: int | None,
    replace: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Write the index of all packages below DIR: index.json, and pages for people.

    Each package is opened as an installation would. With any that could not be installed, nothing
    is written. Signatures beside packages must be of keys that are trusted here, or of KEY.
    """
    from vconnect.index.build import Options
    from vconnect.index.build import build as make_index

    key = _key(key_path, password_file)
    options = Options(
        name=name,
        keys=_trusted(config, key),
        replace=replace,
        sign=_signer(key),
    )
    if expires is not None:
        import msgspec

        until = datetime.now(UTC).replace(microsecond=0) + timedelta(days=expires)
        options = msgspec.structs.replace(options, expires=until if expires else None)
    _show(make_index(directory, options), as_json)


@index.command("yank")
@_directory
@click.argument("name", callback=check_word)
@click.argument("version", callback=check_word)
@click.option("--reason", metavar="TEXT", help="Why; installations show it.")
@click.option("--undo", is_flag=True, help="Offer the version again.")
@_sign
@password_option
@_json
def yank(
    directory: Path,
    name: str,
    version: str,
    reason: str | None,
    undo: bool,
    key_path: Path | None,
    password_file: Path | None,
    as_json: bool,
) -> None:
    """Withdraw VERSION of the plugin NAME: no range chooses it any more.

    Where it is locked it stays, with a warning.
    """
    from vconnect.index.build import withdraw

    if undo == bool(reason):
        raise click.UsageError("give --reason TEXT, or --undo")
    key = _key(key_path, password_file)
    _show(withdraw(directory, name, version, reason or None, _signer(key)), as_json)


@click.command()
@click.argument("word", required=False, default="")
@asks_host
def search(host: RunningHost, word: str) -> None:
    """Show the plugins of the host's indexes that have WORD in their name or description."""
    host.show(host.ask(lambda client: client.search(word)), print_hits)


@click.command()
@click.argument("what", metavar="NAME|FILE", callback=check_word)
@asks_host
def info(host: RunningHost, what: str) -> None:
    """Show what an index has of the plugin NAME, or what is in the package FILE.

    A file has a slash in its path, or ends in .vp or .wkp. For a file, no host is asked.
    """
    if split_request(what.partition("#")[0]) is not None:
        host.show(host.ask(lambda client: client.info(what)), print_info)
        return
    if not what.lower().endswith(PACKAGE_SUFFIXES):
        raise click.UsageError(
            f"{what!r} is neither the name of a plugin nor a package; a package ends in "
            f"{' or '.join(PACKAGE_SUFFIXES)}"
        )
    _show_package(Path(what), host.config, host.as_json)


def _show_package(path: Path, config: Path | None, as_json: bool) -> None:
    import msgspec

    from vconnect.index.package import describe_package, with_signature

    package = with_signature(describe_package(path), _trusted(config, None))
    if as_json:
        print_json(msgspec.to_builtins(package))
    else:
        print_package(package)


def _key(path: Path | None, password_file: Path | None) -> SecretKey | None:
    if path is None and password_file is not None:
        raise click.UsageError("--password-file is for --sign KEY, which is missing")
    # Before anything is written: a password may be wrong.
    return read_key(path, password_file) if path is not None else None


def _signer(key: SecretKey | None) -> Callable[[Path], object] | None:
    if key is None:
        return None

    def sign_index(path: Path) -> None:
        # What has not changed keeps its signature, and its time, but for one of another key.
        if not _is_signed(path, key):
            sign_file(path, key)

    return sign_index


def _is_signed(path: Path, key: SecretKey) -> bool:
    """Return whether there is a signature beside a file that a key has made of it."""
    from vconnect.trust.files import SIGNATURE_SUFFIX, read_signature
    from vconnect.trust.signing import verify

    beside = path.with_name(path.name + SIGNATURE_SUFFIX)
    if not beside.exists():
        return False
    try:
        with path.open("rb") as file:
            verify(file, read_signature(beside), key.public_key())
    except SignatureError:
        return False
    return True


def _trusted(config: Path | None, key: SecretKey | None) -> Mapping[str, TrustedKey] | None:
    """Return the keys that count here; ``None`` if none is known, so that nothing is verified."""
    from vconnect.trust.keyring import Keyring, TrustedKey

    trust_file = settings_for(config).trust_file
    keys = Keyring(Path(trust_file)).keys() if trust_file else {}
    if key is not None:
        public = key.public_key()
        keys.setdefault(public.id, TrustedKey(id=public.id, key=public.line()))
    return keys or None


def _show(built: Built, as_json: bool) -> None:
    if as_json:
        import msgspec

        faults = [IndexFault(place=one.place, message=one.words) for one in built.faults]
        print_json({**msgspec.to_builtins(built), "faults": faults})
    else:
        print_built(built)
    if built.faults:
        click.get_current_context().exit(FAILED)
