"""Describes a struct as JSON Schema, with the words of its docstring."""

# What a struct says of its fields is the only source: their types and bounds are enforced by
# msgspec, and a pattern that is checked elsewhere stands in the field's `Meta` from the constant
# that the check uses.

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any, get_args

import msgspec

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ENTRY = re.compile(r"^    (\w+): (.*(?:\n {8}.*)*)", re.MULTILINE)


def schema_of(kind: type[msgspec.Struct], title: str) -> dict[str, Any]:
    """Return the schema of a struct.

    Args:
        kind: The struct.
        title: What a file of this form is called.
    """
    made = msgspec.json.schema(kind)
    definitions: dict[str, Any] = made["$defs"]
    for one in dict.fromkeys(_structs(kind)):
        _describe(definitions[one.__name__], one)
    # The struct itself is the schema, so that an editor shows what its file is.
    whole = definitions.pop(kind.__name__)
    return {
        "$schema": DIALECT,
        **_plain(whole),
        "title": title,
        **({"$defs": _plain(definitions)} if definitions else {}),
    }


def fields_in_words(kind: type) -> dict[str, str]:
    """Return what a docstring says of each field, from its section ``Attributes``."""
    section = (inspect.getdoc(kind) or "").partition("\nAttributes:\n")[2]
    return {name: _prose(words) for name, words in _ENTRY.findall(section)}


def _describe(schema: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    schema["description"] = _prose((inspect.getdoc(kind) or "").partition("\n\n")[0])
    words = fields_in_words(kind)
    for field in msgspec.structs.fields(kind):
        if field.name in words:
            schema["properties"][field.encode_name]["description"] = words[field.name]


def _prose(text: str) -> str:
    """Make one line of Markdown from a docstring's lines."""
    return " ".join(text.split()).replace("``", "`")


def _structs(kind: Any) -> Iterator[type[msgspec.Struct]]:
    """Yield the structs that a type is made of, from the outside in."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield kind
        for field in msgspec.structs.fields(kind):
            yield from _structs(field.type)
    for part in get_args(kind):
        yield from _structs(part)


def _plain(schema: Any) -> Any:
    """Leave out ``null``: it only means that a key is not given, and then it is not written."""
    if isinstance(schema, list):
        return [_plain(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _plain(value) for key, value in schema.items()}
    if isinstance(made.get("anyOf"), list):
        kinds = [one for one in made.pop("anyOf") if one != {"type": "null"}]
        made = {**kinds[0], **made} if len(kinds) == 1 else {"anyOf": kinds, **made}
    if isinstance(made.get("enum"), list):
        made["enum"] = [word for word in made["enum"] if word is not None]
    # Of a table, each key has its own default.
    if made.get("default", 0) is None or "$ref" in made:
        made.pop("default", None)
    return made
