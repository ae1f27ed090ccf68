"""``vconnect new`` and ``vconnect pack``: from an empty directory to a package."""

from __future__ import annotations

from pathlib import Path

import click

from vconnect.cli.output import clean, print_json, print_packed

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
def new(name: str, lang: str, directory: Path | None) -> None:
    """Create a plugin called NAME: a project that runs as it is."""
    from vconnect.cli.scaffold import create_project
    from vconnect.names import canonical_name

    # Named like the plugin is listed, without the prefix.
    target = directory or Path(canonical_name(name))
    for path in create_project(name, target, lang):
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
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def pack(directory: Path, output: Path | None, include: tuple[str, ...], as_json: bool) -> None:
    """Create a package (.vp) from the plugin in DIR.

    What .gitignore and .vpignore name is left out, and so are secrets and environments.
    """
    from vconnect.packages.pack import pack as make_package

    made = make_package(directory, output, include=include)
    if as_json:
        import msgspec

        print_json(msgspec.to_builtins(made, enc_hook=str))  # a path is its text
        return
    print_packed(made)
