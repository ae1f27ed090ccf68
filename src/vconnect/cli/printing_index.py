"""What the commands about indexes print."""

# All of it comes from indexes and packages, so it goes through `clean`, as in `output`.

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from .output import clean, format_size, print_table_of, print_versions

if TYPE_CHECKING:
    from vconnect.index.build import Built
    from vconnect.index.package import PackageInfo


def print_built(built: Built) -> None:
    """Print what became of an index: what is wrong, or what was written."""
    for fault in built.faults:
        click.echo(clean(str(fault)), err=True)
    for file in built.unverified:
        click.echo(clean(f"note: the signature of {file} was not verified"), err=True)
    path = clean(built.index)
    if built.faults:
        count = len(built.faults)
        click.echo(f"{count} fault{'s' if count > 1 else ''}; {path} was not changed", err=True)
        return
    done = "wrote" if built.changed else "unchanged:"
    click.echo(
        f"{done} {path}: serial {built.serial}, {_count(built.plugins, 'plugin')}, "
        f"{_count(built.files, 'file')}"
    )


def print_hits(found: Mapping[str, Any]) -> None:
    """Print the plugins that a search has found."""
    hits = found["plugins"]
    if hits:
        rows = [(one["name"], one["version"], one["description"], one["index"]) for one in hits]
        print_table_of(("plugin", "version", "description", "index"), rows)
    else:
        click.echo("no plugin was found")
    if found["total"] > len(hits):
        click.echo(f"… of {found['total']}; another word finds fewer")
    _print_notes(found["notes"])


def print_info(found: Mapping[str, Any]) -> None:
    """Print what an index has of a plugin, and what is installed of it."""
    click.echo(clean(": ".join(filter(None, (found["name"], found["description"])))))
    if found["aliases"]:
        click.echo(clean(f"also called: {', '.join(found['aliases'])}"))
    if found["index"]:
        click.echo(clean(f"index: {found['index']}"))
        headings = ("version", "platform", ">size", "sha256", "asks for", "remarks")
        rows = [
            _row(version, file)
            for version in found["versions"]
            for file in version.get("files", ())
        ]
        print_table_of(headings, rows)
    if found["installed"]:
        click.echo("installed:")
        print_versions(found["installed"])
    _print_notes(found["notes"])


def print_package(package: PackageInfo) -> None:
    """Print what a package file is."""
    fields = {
        "name": package.name,
        "aliases": ", ".join(package.aliases),
        "version": package.version,
        "description": package.description,
        "platform": package.platform,
        "size": format_size(package.size),
        "sha256": package.sha256,
        "tree": package.tree,
        "permissions": ", ".join(package.permissions),
        "requires": ", ".join(package.requires),
        "interface": ", ".join(package.interface),
        "min_host_version": package.min_host_version,
        "signed_by": package.signed_by,
        "signature": package.signature,
    }
    width = max(map(len, fields))
    for name, value in fields.items():
        if value:
            click.echo(f"{name:<{width}}  {clean(value)}")
    click.echo(f"{_count(len(package.files), 'file')}:")
    width = max((len(format_size(one.size_bytes)) for one in package.files), default=0)
    for one in package.files:
        click.echo(f"  {format_size(one.size_bytes):>{width}}  {clean(one.path)}")


def _row(version: Mapping[str, Any], file: Mapping[str, Any]) -> Sequence[str]:
    yanked = version.get("yanked")
    remarks = [f"withdrawn: {yanked}"] if yanked is not None else []
    if version.get("min_host_version"):
        remarks.append(f"vconnect {version['min_host_version']}")
    return (
        version["version"],
        file.get("platform", "any"),
        format_size(file["size"]),
        file["sha256"][:16],
        ", ".join(version.get("permissions", ())),
        "; ".join(remarks),
    )


def _print_notes(notes: Sequence[str]) -> None:
    for note in notes:
        click.echo(clean(f"note: {note}"), err=True)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
