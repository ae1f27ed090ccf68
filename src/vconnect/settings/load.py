"""Loads the host's settings: command line, then ``VCONNECT_*``, then the file, then defaults."""

# `load_settings` merges the four and validates once. An error names its origin (file and key,
# variable or option) and what was expected, before anything is started.

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from vconnect.errors import ConfigError
from vconnect.validation import Fault, uncapitalized, without_mark

from .explain import explain, sift
from .model import ConfigurationFile, Settings
from .paths import absolute_paths
from .rules import faults_of_events, faults_of_names, faults_of_roles, faults_of_sources
from .variables import TABLES, variable_of

_TOML_PLACE = re.compile(r"(?P<words>.*) \(at line (?P<line>\d+), column (?P<column>\d+)\)")

LOCK_FILE = "vconnect.lock"
TRUST_FILE = "vconnect.trust"


# Defaults that have to be made absolute, unlike others.
_DEFAULT_PATHS = {key: getattr(Settings(), key) for key in ("plugin_dir", "socket_path")}


def load_settings(
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Settings:
    """Merge command line, environment, file and defaults, in this order of precedence.

    Args:
        file: A TOML file, or ``None``. Relative paths in it are relative to its directory, all
            others to the working directory.
        environ: The environment; only ``VCONNECT_<KEY>`` for known scalar keys is read.
        overrides: Values from the command line by key; ``None`` means not given.

    Returns:
        The settings, with all paths absolute.

    Raises:
        ConfigError: The file cannot be read or parsed, or a value is invalid.
    """
    values: dict[str, Any] = dict(_DEFAULT_PATHS)
    if file is not None:
        values |= defaults_beside(file)
        values |= _read_file(file)
    values |= _read_environment(environ or {})
    # The command line last, so that it wins over everything else.
    values |= {key: value for key, value in (overrides or {}).items() if value is not None}
    faults: list[Fault] = []
    sound = sift(absolute_paths(values), Settings, "", faults)
    _refuse(faults, "settings")
    settings = msgspec.convert(sound, Settings)
    _refuse(find_contradictions(settings), str(file) if file is not None else "settings")
    return settings


def defaults_beside(file: Path) -> dict[str, str]:
    """Return the defaults of the keys that name files beside a configuration file.

    A link is followed, as it is for the relative paths in the file.
    """
    beside = {"lock_file": LOCK_FILE, "trust_file": TRUST_FILE}
    return {key: str(file.resolve().with_name(name)) for key, name in beside.items()}


def find_contradictions(settings: Settings) -> Iterator[Fault]:
    """Yield what is wrong with settings whose values have the right types."""
    yield from faults_of_names(settings)
    yield from faults_of_sources(settings)
    yield from faults_of_events(settings.events)
    yield from faults_of_roles(settings)


def _refuse(faults: Iterable[Fault], origin: str) -> None:
    """Raise the first fault."""
    for fault in faults:
        raise ConfigError(f"{origin}: {fault}")


def with_options(settings: Settings | None, options: Mapping[str, Any]) -> Settings:
    """Return ``settings``, or the defaults, with some keys replaced by those of an application.

    Args:
        settings: The settings to start from.
        options: Values by key; a `Path` counts as its text, and ``None`` as not given.

    Raises:
        ConfigError: A key is unknown, or a value is not what its key expects.
    """
    plain = {
        key: str(value) if isinstance(value, Path) else value for key, value in options.items()
    }
    base = {} if settings is None else msgspec.structs.asdict(settings)
    return load_settings(overrides=base | plain)


class Reading(msgspec.Struct, frozen=True):
    """A configuration file that was read.

    Attributes:
        values: Its keys, those of ``[plugins]`` and ``events``, without what is wrong.
        faults: What is wrong with its values.
    """

    values: dict[str, Any]
    faults: list[Fault]


def read_file(file: Path) -> Reading:
    """Read a configuration file, and look at each of its values on its own. Blocks.

    Raises:
        ConfigError: It cannot be read, or is not TOML.
    """
    document = _read_document(file)
    faults: list[Fault] = []
    sound = sift(document, ConfigurationFile, "", faults)
    table: dict[str, Any] = absolute_paths(sound.get("plugins", {}), file.resolve().parent)
    if "events" in sound:
        if "events" in table:
            faults.append(
                Fault("", "both [events] and [plugins.events] are present; keep [events]")
            )
        table["events"] = sound["events"]
    return Reading(table, faults)


def _read_file(file: Path) -> dict[str, Any]:
    """Read and validate the file on its own, so that errors name it."""
    reading = read_file(file)
    _refuse(reading.faults, str(file))
    # Without the defaults and the environment, which are not the file's.
    parsed = msgspec.convert(reading.values, Settings)
    _refuse(faults_of_names(parsed), str(file))
    _refuse(faults_of_events(parsed.events), str(file))
    return reading.values


def _read_document(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(without_mark(file.read_bytes(), str(file)).decode())
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}{_explain_toml(error)}") from None
    except RecursionError:
        raise ConfigError(f"{file}: is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(str(error)) from None


def _explain_toml(error: tomllib.TOMLDecodeError) -> str:
    """Return the place and the words of a mistake in a TOML text, to follow the file's name."""
    found = _TOML_PLACE.fullmatch(str(error))
    if found is None:
        return f": not valid TOML: {uncapitalized(str(error))}"
    return f":{found['line']}:{found['column']}: not valid TOML: {uncapitalized(found['words'])}"


def _read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """Read ``VCONNECT_<KEY>`` for all keys that are not tables."""
    values: dict[str, Any] = {}
    # Only known keys: the environment also has variables that the host sets for plugins.
    for field in msgspec.structs.fields(Settings):
        variable = variable_of(field.name)
        if variable not in environ or field.name in TABLES:
            continue
        text = environ[variable]
        many = field.type == tuple[str, ...]
        value: Any = [item for item in text.split(",") if item] if many else text
        # Not strict: a variable is always text, also for numbers and booleans.
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=False)
        except msgspec.ValidationError as error:
            expected = str(explain(error, Settings, value, field=field.name))
            if field.type in (bool, bool | None):
                expected = "expected 1, 0, true or false"  # msgspec names a type that no text has
            raise ConfigError(f"{variable}={text!r}: {expected}") from None
    return values
