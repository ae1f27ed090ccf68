"""``vconnect trust``, ``untrust`` and ``trusted``: whose signatures count here."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vconnect.cli.context import settings_for
from vconnect.cli.options import config_option
from vconnect.cli.output import clean, print_json, print_table_of
from vconnect.errors import ConfigError, SignatureError

if TYPE_CHECKING:
    from datetime import datetime

    from vconnect.trust.keyring import Keyring, TrustedKey
    from vconnect.trust.minisign import PublicKey


def _with_keyring(command: Callable[..., Any]) -> Callable[..., Any]:
    """Find the trust file by the configuration, or by ``--file``."""

    def wrapper(config: Path | None, file: Path | None, **more: Any) -> Any:
        from vconnect.trust.keyring import Keyring

        path = file or settings_for(config).trust_file
        if not path:
            raise ConfigError(
                "there is no trust file: it lies beside the configuration file; use --config, or "
                "name it with --file"
            )
        return command(Keyring(Path(path)), **more)

    update_wrapper(wrapper, command)
    file_option = click.option(
        "--file",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="The trust file.  [default: from the configuration]",
    )
    return config_option(file_option(wrapper))


_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
_dry_run = click.option("--dry-run", is_flag=True, help="Show what would be done, and do nothing.")


@click.command()
@click.argument("key", metavar="FILE|KEY")
@click.option(
    "--for",
    "plugins",
    multiple=True,
    metavar="NAME",
    help="Only for plugins named like NAME; repeatable.",
)
@click.option(
    "--source",
    "sources",
    multiple=True,
    metavar="URL",
    help="Only for packages whose source begins with URL; repeatable.",
)
@click.option("--succeeds", metavar="ID", help="The trusted key that hands over to this one.")
@click.option("--not-after", metavar="DATE", help="From when on it may sign nothing more.")
@click.option("--comment", metavar="TEXT", default="", help="Whose key it is.")
@_dry_run
@_json
@_with_keyring
def trust(
    keyring: Keyring,
    key: str,
    plugins: tuple[str, ...],
    sources: tuple[str, ...],
    succeeds: str | None,
    not_after: str | None,
    comment: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Let the signatures of a key count: a file NAME.pub, or the key itself.

    With --succeeds, the file needs a signature NAME.pub.minisig of the old key: packages of the new
    one are accepted where the old one has signed before. Of a key that is known, what is not said
    anew stays.
    """
    from vconnect.operations.changes import this_user
    from vconnect.trust.adding import describe_key

    public = _public_key(key)
    old = keyring.find(succeeds) if succeeds is not None else None
    if old is not None:
        _check_succession(old, Path(key))
    added = describe_key(
        public,
        by=this_user(),
        plugins=plugins,
        sources=sources,
        comment=comment,
        not_after=_date(not_after),
        predecessor=old,
    )
    if dry_run:
        _show(keyring.plan(added), f"would be trusted in {keyring.path}", as_json)
    else:
        _show(keyring.add(added), f"trusted in {keyring.path}", as_json)


@click.command()
@click.argument("number", metavar="ID")
@click.option("--revoke", is_flag=True, help="Accept nothing more that it has ever signed.")
@click.option("--reason", metavar="TEXT", default="", help="Why it is revoked.")
@_dry_run
@_json
@_with_keyring
def untrust(
    keyring: Keyring, number: str, revoke: bool, reason: str, dry_run: bool, as_json: bool
) -> None:
    """Forget a key, or with --revoke remember that nothing of it counts any more.

    What is installed serves on; the log and `verify` say so (on_revoked in the configuration).
    """
    if reason and not revoke:
        raise click.UsageError("--reason is for --revoke")
    words = "revoked" if revoke else "forgotten"
    if dry_run:
        _show(keyring.find(number), f"would be {words}", as_json)
    elif revoke:
        _show(keyring.revoke(number, reason), words, as_json)
    else:
        _show(keyring.remove(number), words, as_json)
    if not as_json:
        click.echo("to see which installed versions it has signed, use: vconnect verify")


@click.command()
@_json
@_with_keyring
def trusted(keyring: Keyring, as_json: bool) -> None:
    """List the keys whose signatures count."""
    keys = list(keyring.keys().values())
    if as_json:
        print_json({"keys": keys})
        return
    if not keys:
        where = clean(str(keyring.path))
        click.echo(f"{where} has no keys; to trust one, use: vconnect trust FILE")
        return
    rows = [
        (
            key.id,
            key.comment,
            ", ".join(key.plugins) or "all",
            ", ".join(key.sources) or "all",
            key.problem() or "counts",
        )
        for key in keys
    ]
    print_table_of(("key", "comment", "plugins", "sources", "state"), rows)


def _public_key(text: str) -> PublicKey:
    """Read a key's file, or the key itself."""
    from vconnect.trust.files import read_public
    from vconnect.trust.minisign import parse_public_key

    if Path(text).exists() or text.endswith(".pub"):
        return read_public(Path(text))
    return parse_public_key(text)


def _check_succession(old: TrustedKey, file: Path) -> None:
    """Refuse a key that the old one has not signed."""
    from vconnect.durable import open_regular
    from vconnect.trust.adding import check_succession
    from vconnect.trust.files import SIGNATURE_SUFFIX, read_signature

    signature = read_signature(file.with_name(file.name + SIGNATURE_SUFFIX))
    try:
        with open_regular(file) as content:
            check_succession(old, content, signature)
    except OSError as error:
        raise SignatureError(f"{file}: cannot be read: {error.strerror}") from error


def _date(text: str | None) -> datetime | None:
    if text is None:
        return None
    from vconnect.trust.adding import parse_not_after

    try:
        return parse_not_after(text)
    except ValueError as error:
        raise click.BadParameter(
            f"{error}; to trust a key no longer, use: vconnect untrust", param_hint="--not-after"
        ) from None


def _show(key: TrustedKey, words: str, as_json: bool) -> None:
    if as_json:
        print_json(key)
        return
    whose = f" ({key.comment})" if key.comment else ""
    limits = [f"for {', '.join(key.plugins)}"] if key.plugins else []
    limits += [f"from {', '.join(key.sources)}"] if key.sources else []
    limits += [f"until {key.not_after:%Y-%m-%d}"] if key.not_after is not None else []
    scope = f"; it counts {' '.join(limits)}" if limits and "trusted" in words else ""
    click.echo(clean(f"key {key.id}{whose}: {words}{scope}"))
