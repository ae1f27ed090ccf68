"""``plugin.json`` as JSON Schema, for editors."""

from __future__ import annotations

from typing import Any

from vconnect.json_schema import schema_of

from .manifest import MANIFEST_NAME, Manifest


def manifest_schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of ``plugin.json``, made from `Manifest`.

    Lengths are in characters here, and in bytes of UTF-8 where the manifest is read. Whether
    ``config_schema`` can be used, only `config_schema.check` can tell.
    """
    made = schema_of(Manifest, MANIFEST_NAME)
    # It is what was read, not a key of the file.
    del made["properties"]["raw"]
    return made
