"""The configuration file as JSON Schema, for editors."""

from __future__ import annotations

from typing import Any

from vconnect.json_schema import schema_of

from .match import Condition
from .model import ConfigurationFile


def configuration_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``vconnect.toml``, made from `ConfigurationFile`.

    What must hold between keys is not in it; see `rules`.
    """
    made = schema_of(ConfigurationFile, "vconnect.toml")
    # One without any key would be no condition; its constructor says so.
    made["$defs"][Condition.__name__]["minProperties"] = 1
    return made
