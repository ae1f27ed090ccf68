"""``vconnect keygen`` and ``vconnect sign``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vconnect.cli.forms import KeyPair, Signed, SignedFiles
from vconnect.cli.output import clean, print_json

if TYPE_CHECKING:
    from vconnect.trust.minisign import SecretKey

password_option = click.option(
    "--password-file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Read the key's password from the first line of FILE; - is stdin.",
)


@click.command()
@click.argument("base", metavar="[NAME]", type=click.Path(path_type=Path), default="vconnect")
@password_option
@click.option("--no-password", is_flag=True, help="Do not encrypt the secret key: for machines.")
@click.option("--comment", metavar="TEXT", default="", help="A line about the public key.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def keygen(
    base: Path, password_file: Path | None, no_password: bool, comment: str, as_json: bool
) -> None:
    """Make a pair of keys: NAME.key, which is secret, and NAME.pub.

    They are files of minisign, and NAME is "vconnect" by default.
    """
    from vconnect.trust.files import write_keys
    from vconnect.trust.minisign import PublicKey, check_comment
    from vconnect.trust.passwords import seal
    from vconnect.trust.signing import generate

    if not base.name:
        raise click.UsageError("the NAME is empty; expected the path of the files without .key")
    check_comment(comment)
    if no_password and password_file is not None:
        raise click.UsageError("--no-password and --password-file exclude each other")
    key = generate()
    password = "" if no_password else _password(password_file, is_new=True)
    public = PublicKey(key.number, key.public, comment)
    secret_path, public_path = write_keys(base, seal(key, password), public)
    if as_json:
        made = KeyPair(
            id=public.id, secret=str(secret_path), public=str(public_path), key=public.line()
        )
        print_json(made)
        return
    click.echo(f"wrote {clean(str(secret_path))} (secret) and {clean(str(public_path))}")
    click.echo(f"key {public.id}: {public.line()}")
    click.echo(f"next: vconnect sign FILE --key {clean(str(secret_path))}")


@click.command()
@click.argument(
    "files",
    metavar="FILE...",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
)
@click.option(
    "--key",
    "key_path",
    type=click.Path(path_type=Path, dir_okay=False),
    default="vconnect.key",
    show_default=True,
    metavar="FILE",
    help="The secret key.",
)
@password_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def sign(
    files: tuple[Path, ...], key_path: Path, password_file: Path | None, as_json: bool
) -> None:
    """Sign each FILE: write FILE.minisig beside it.

    The trusted comment of a package says its name, its version and its SHA-256.
    """
    key = read_key(key_path, password_file)
    signed = [sign_file(path, key) for path in files]
    if as_json:
        print_json(SignedFiles(signed=signed))
        return
    for one in signed:
        print_signed(one)


def read_key(path: Path, password_file: Path | None) -> SecretKey:
    """Read a secret key, and ask for its password if it has one."""
    from vconnect.trust.files import is_shared, read_secret
    from vconnect.trust.passwords import unseal

    secret = read_secret(path)
    if is_shared(path):
        shown = clean(str(path))
        click.echo(f"warning: others may read {shown}; use: chmod 600 {shown}", err=True)
    password = _password(password_file) if secret.is_encrypted else ""
    return unseal(secret, password, str(path))


def print_signed(signed: Signed) -> None:
    """Print what `sign_file` has written."""
    click.echo(f"wrote {clean(signed.signature)}: {clean(signed.trusted_comment)}")


def sign_file(path: Path, key: SecretKey) -> Signed:
    """Sign a file: write its signature beside it, and verify that."""
    from vconnect.durable import open_regular
    from vconnect.trust.files import read_signature, write_signature
    from vconnect.trust.signing import sign as make_signature
    from vconnect.trust.signing import verify

    comment = _describe(path)
    with open_regular(path) as file:
        written = write_signature(path, make_signature(file, key, comment))
        # What was written, as a reader will find it.
        file.seek(0)
        verify(file, read_signature(written), key.public_key())
    return Signed(
        file=str(path),
        signature=str(written),
        key=key.public_key().id,
        trusted_comment=comment,
    )


def _describe(path: Path) -> str:
    """Return the trusted comment of a file."""
    import tempfile
    import time

    from vconnect.durable import open_regular
    from vconnect.packages.archive import PACKAGE_SUFFIXES, unpack
    from vconnect.packages.contents import digest_of

    with open_regular(path) as file:
        digest = digest_of(file.fileno())
    what = f"file={path.name}"
    if path.suffix in PACKAGE_SUFFIXES:
        # As an installation would: what cannot be installed is not signed.
        with tempfile.TemporaryDirectory(prefix="vconnect-sign-") as scratch:
            manifest = unpack(path, Path(scratch, "package"), origin=str(path)).manifest
        what = f"name={manifest.plugin} version={manifest.version or ''}"
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return f"vconnect 1 {what} sha256={digest} time={at}"


def _password(file: Path | None, *, is_new: bool = False) -> str:
    """Return a password from a file, from stdin or from the terminal; never empty."""
    from vconnect.errors import ConfigError

    if file is None and not sys.stdin.isatty():
        words = ", or --no-password for a key without one" if is_new else ""
        raise ConfigError(
            f"there is no terminal to ask for the password; use --password-file FILE{words}"
        )
    if file is None:
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=is_new, err=True))
    try:
        with click.open_file(str(file)) as stream:
            password = str(stream.readline()).rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"cannot read the password from {file}: {error.strerror}") from None
    if not password:
        raise ConfigError(f"the first line of {file} is empty; expected the password")
    return password
