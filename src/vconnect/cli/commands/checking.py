"""``vconnect check`` and ``vconnect schema``: what is wrong with a file, before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from vconnect.cli.exit_codes import FAILED, WRONG_USAGE
from vconnect.cli.output import print_json, print_report

if TYPE_CHECKING:
    from vconnect.checks.report import Report


@click.command()
@click.argument("path", metavar="PATH", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def check(path: Path, as_json: bool) -> int:
    """Say all that is wrong with PATH, and start nothing.

    PATH is a package, a plugin's directory, a plugin.json, or a configuration (.toml).
    """
    import msgspec

    from vconnect.checks.path import check_path

    report = check_path(path)
    if as_json:
        print_json(msgspec.to_builtins(report.findings))
    else:
        print_report(report)
    return _exit_code(report)


def _exit_code(report: Report) -> int:
    if report.is_unusable:
        return WRONG_USAGE
    return FAILED if report.faults else 0


@click.command()
@click.argument("what", metavar="manifest|config", type=click.Choice(["manifest", "config"]))
def schema(what: str) -> None:
    """Print the JSON Schema of plugin.json or vconnect.toml, for an editor."""
    from vconnect.packages.manifest_schema import manifest_schema
    from vconnect.settings.schema import configuration_schema

    print_json(manifest_schema() if what == "manifest" else configuration_schema())
