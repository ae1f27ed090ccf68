"""``vconnect new`` and ``vconnect pack``: from an empty directory to a package."""

from __future__ import annotations

from pathlib import Path

import click

from vconnect.cli.output import clean, print_json, print_packed

from .dependencies import DependencyOptions, dependency_options, provide
from .signing import password_option, print_signed, read_key, sign_file

LANGUAGES = ("python", "rust")


@click.command()
@click.argument("name")
@click.option(
    "--lang", type=click.Choice(LANGUAGES), default="python", show_default=True, help="Language."
)
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="The project's directory; new or empty.  [default: ./NAME]",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def new(name: str, lang: str, directory: Path | None, as_json: bool) -> None:
    """Create a plugin called NAME: a project that runs as it is."""
    from vconnect.cli.scaffold import create_project
    from vconnect.names import canonical_name

    # Named like the plugin is listed, without the prefix.
    target = directory or Path(canonical_name(name))
    written = create_project(name, target, lang)
    if as_json:
        from vconnect.cli.forms import Created

        files = [str(path) for path in written]
        print_json(Created(name=canonical_name(name), directory=str(target), files=files))
        return
    for path in written:
        click.echo(f"wrote {clean(str(path))}")
    click.echo(f"next: vconnect serve --dev {canonical_name(name)}:{clean(str(target))}")


@click.command()
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="The package to write.  [default: ./NAME-VERSION.vp]",
)
@click.option(
    "--include",
    multiple=True,
    metavar="PATH",
    help="A path below DIR to pack although it is ignored or looks like a secret; repeatable.",
)
@click.option(
    "--platform",
    "binary",
    nargs=2,
    type=(str, click.Path(path_type=Path, dir_okay=False)),
    default=None,
    metavar="PLATFORM BIN",
    help="Make a package for one platform, such as linux-amd64, with the program BIN as its entry.",
)
@click.option(
    "--sign",
    "key_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="KEY",
    help="Sign the package with this secret key.",
)
@password_option
@dependency_options
@click.option("--list", "list_all", is_flag=True, help="List every file, however many there are.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def pack(
    directory: Path,
    output: Path | None,
    include: tuple[str, ...],
    binary: tuple[str, Path] | None,
    key_path: Path | None,
    password_file: Path | None,
    dependencies: DependencyOptions,
    list_all: bool,
    as_json: bool,
) -> None:
    """Create a package (.vp) from the plugin in DIR, and FILE.sha256 beside it.

    What .gitignore and .vpignore name is left out, and so are secrets and environments.
    """
    from vconnect.packages.pack import pack as make_package
    from vconnect.packages.preparation import Binary

    if password_file is not None and key_path is None:
        raise click.UsageError("--password-file is for --sign KEY, which is missing")
    # Before anything is written: a password may be wrong.
    key = read_key(key_path, password_file) if key_path is not None else None
    advice = provide(directory, dependencies)
    made = make_package(
        directory, output, include=include, binary=Binary(*binary) if binary else None
    )
    signed = sign_file(made.path, key) if key is not None else None
    if as_json:
        import msgspec

        # A path is its text.
        print_json({**msgspec.to_builtins(made, enc_hook=str), "signed": signed})
        return
    print_packed(made, list_all=list_all)
    if advice:
        click.echo(f"note: {clean(advice)}", err=True)
    if signed is not None:
        print_signed(signed)
    else:
        _warn_of_old_signature(made.path, made.sha256)
    click.echo(f"next: vconnect serve --install {clean(str(made.path))}")


def _warn_of_old_signature(package: Path, digest: str) -> None:
    """Say that the signature beside a package is that of an earlier one."""
    from vconnect.trust.files import SIGNATURE_SUFFIX, read_signature

    path = package.with_name(package.name + SIGNATURE_SUFFIX)
    if path.exists() and f"sha256={digest}" not in read_signature(path).trusted_comment:
        shown = clean(str(path))
        click.echo(f"warning: {shown} is of another package; sign this one, or remove it", err=True)
