"""``vconnect check`` and ``vconnect schema``: what is wrong with a file, before it is used."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import click

from vconnect.cli.exit_codes import FAILED, WRONG_USAGE
from vconnect.cli.output import print_json, print_report

if TYPE_CHECKING:
    from vconnect.checks.report import Report

_FILES = ("manifest", "config")
#: The keys of `vconnect.cli.printed.FORMS`, which takes long to import.
OUTPUTS = tuple(
    """
    bench check config-get config-set config-unset dashboard disable doctor emit enable error
    index-build index-yank info install keygen list logs new outdated pack release reload rescan
    restart rollback search sign start status stop tail top trust trusted uninstall untrust upgrade
    verify why
    """.split()
)
_SCHEMA_HELP = f"""\
Print the JSON Schema of a file, or of what a command prints with --json.

NAME is manifest for plugin.json, config for vconnect.toml, error for what each command prints if
it fails, or one of:

\b
{fill(", ".join(name for name in OUTPUTS if name != "error"), 76, break_on_hyphens=False)}
"""


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


@click.command(help=_SCHEMA_HELP)
@click.argument("what", metavar="NAME", type=click.Choice([*_FILES, *OUTPUTS]))
def schema(what: str) -> None:
    """Print the JSON Schema of a file or of what a command prints."""
    if what in OUTPUTS:
        from vconnect.cli.printed import output_schema

        print_json(output_schema(what))
        return
    from vconnect.packages.manifest_schema import manifest_schema
    from vconnect.settings.schema import configuration_schema

    print_json(manifest_schema() if what == "manifest" else configuration_schema())
