"""Describes a struct as JSON Schema, with the words of its docstring."""

# What a struct says of its fields is the only source: their types and bounds are enforced by
# msgspec, and a pattern that is checked elsewhere stands in the field's `Meta` from the constant
# that the check uses.

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
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


def schema_of_output(kinds: Sequence[Any], title: str, words: str) -> dict[str, Any]:
    """Return the schema of what is written, where each key is there, and some are ``null``.

    Args:
        kinds: The types, any of which the whole has; a list stands for an array of any of them.
        title: What writes it.
        words: What it is.
    """
    single = [one for kind in kinds for one in (kind if isinstance(kind, list) else [kind])]
    made, definitions = msgspec.json.schema_components(
        single, schema_hook=lambda _: {"type": "string"}, ref_template="#/$defs/{name}"
    )
    for one in dict.fromkeys(found for kind in single for found in _structs(kind)):
        _describe(definitions[one.__name__], one)
        _require_written(definitions[one.__name__], one)
    rest = iter(made)
    parts = [
        {"type": "array", "items": _any_of([next(rest) for _ in kind])}
        if isinstance(kind, list)
        else next(rest)
        for kind in kinds
    ]
    return {
        "$schema": DIALECT,
        "title": title,
        "description": words,
        **_any_of(parts),
        "$defs": definitions,
    }


def fields_in_words(kind: type) -> dict[str, str]:
    """Return what docstrings say of each field, from their sections ``Attributes``."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__[:-1]):  # a subclass says nothing of what it inherits
        section = (inspect.getdoc(one) or "").partition("\nAttributes:\n")[2]
        found |= {name: _prose(words) for name, words in _ENTRY.findall(section)}
    return found


def _describe(schema: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    schema["description"] = _prose((inspect.getdoc(kind) or "").partition("\n\n")[0])
    words = fields_in_words(kind)
    for field in msgspec.structs.fields(kind):
        if field.name in words:
            schema["properties"][field.encode_name]["description"] = words[field.name]


def _require_written(schema: dict[str, Any], kind: type[msgspec.Struct]) -> None:
    """Require the keys that are always written; a default is only for a reader."""
    omits_defaults = kind.__struct_config__.omit_defaults
    schema["required"] = [
        field.encode_name
        for field in msgspec.structs.fields(kind)
        if field.required or not (omits_defaults or field.default is msgspec.UNSET)
    ]
    for one in schema["properties"].values():
        one.pop("default", None)
        if "description" in one:
            one["description"] = one["description"].replace("`None`", "`null`")


def _any_of(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return parts[0] if len(parts) == 1 else {"anyOf": list(parts)}


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
