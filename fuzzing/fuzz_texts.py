"""Fuzz what people write: a manifest and a configuration are valid, or an error says where not."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from vconnect.errors import ConfigError, ManifestError
from vconnect.packages.config_schema.check import check_schema
from vconnect.packages.manifest import parse_manifest
from vconnect.settings.load import load_settings

_LONGEST_ERROR = 4000


def check(data: bytes) -> str:
    """Read a manifest or a configuration; the first byte says which.

    Returns:
        The error, or an empty string.

    Raises:
        AssertionError: The error is too long, or does not name the file.
    """
    read = _read_manifest if data[:1] < b"\x80" else _read_configuration
    error = read(data[1:])
    assert len(error) < _LONGEST_ERROR, len(error)
    return error


def _read_manifest(data: bytes) -> str:
    try:
        manifest = parse_manifest(data, "plugin.json")
        check_schema(manifest.config_schema, "plugin.json")
    except ManifestError as error:
        return _named(str(error), "plugin.json")
    return ""


def _read_configuration(data: bytes) -> str:
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "vconnect.toml"
        file.write_bytes(data)
        try:
            load_settings(file)
        except ConfigError as error:
            return _named(str(error), "vconnect.toml")
    return ""


def _named(error: str, file: str) -> str:
    assert file in error, error
    return error


def main() -> None:
    """Run until a crash, or for as long as the options of libFuzzer allow."""
    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
