"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from vconnect.cli.options import admin_option, config_option


@click.command()
@config_option
@admin_option
def command(config: Path | None, admin: str | None) -> None:
    click.echo(f"{config!r} {admin!r}")


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        ((), "None None"),
        (("--config", "a.toml", "--admin", "dir"), f"{Path('a.toml')!r} 'dir'"),
    ],
)
def test_what_a_command_is_given(arguments: tuple[str, ...], shown: str) -> None:
    assert CliRunner().invoke(command, arguments).output.strip() == shown


def test_a_directory_is_no_configuration(tmp_path: Path) -> None:
    result = CliRunner().invoke(command, ["--config", str(tmp_path)])
    assert result.exit_code == 2
    assert "is a directory" in result.output
