"""All that is wrong with a configuration file, and with the files and directories that it names."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import msgspec

from vconnect.errors import ConfigError, InstallError
from vconnect.packages.source import Source, parse_source
from vconnect.safe_paths import find_danger
from vconnect.settings.dev_plugins import parse_dev_plugin
from vconnect.settings.load import find_contradictions, read_file
from vconnect.settings.model import Settings
from vconnect.validation import Fault

from .report import Report, Subject, faulty

_FOR_OTHERS = stat.S_IRGRP | stat.S_IROTH


def check_configuration(file: Path) -> Report:
    """Look at a configuration file. Blocks."""
    try:
        reading = read_file(file)
    except ConfigError as error:
        return _report([_placed(error, file)])
    settings = msgspec.convert(reading.values, Settings)
    faults = [*reading.faults, *find_contradictions(settings), *_faults_of_paths(settings)]
    if not settings.insecure_paths and (danger := find_danger(file)):
        faults.append(Fault("", f"{danger}; it decides what is run, so make it yours"))
    return _report([_within(file, fault) for fault in faults])


def _report(faults: list[Fault]) -> Report:
    return Report(Subject.CONFIGURATION, tuple(faulty(faults)), is_unusable=bool(faults))


def _placed(error: ConfigError, file: Path) -> Fault:
    """Split the text of an error that begins with the file, perhaps with line and column."""
    place, _, words = str(error).removeprefix(str(file)).partition(": ")
    return Fault(f"{file}{place}", words)


def _within(file: Path, fault: Fault) -> Fault:
    return Fault(f"{file}: {fault.place}" if fault.place else str(file), fault.words)


def _faults_of_paths(settings: Settings) -> Iterator[Fault]:
    yield from _faults_of_dev_plugins(settings)
    yield from _faults_of_sources(settings)
    for name, options in settings.options.items():
        for key, path in options.secrets.items():
            if problem := _problem_of_secret(Path(path)):
                yield Fault(f"plugins.options.{name!r}.secrets.{key}", problem)


def _faults_of_dev_plugins(settings: Settings) -> Iterator[Fault]:
    for text in settings.dev_plugins:
        try:
            path = parse_dev_plugin(text).path
        except ConfigError:
            continue  # told by the rules already
        if not path.is_dir():
            what = "is not a directory" if path.exists() else "does not exist"
            yield Fault("plugins.dev_plugins", f"{path} {what}; expected a plugin's directory")


def _faults_of_sources(settings: Settings) -> Iterator[Fault]:
    for text in settings.install:
        try:
            source = parse_source(text, allow_insecure_http=settings.allow_insecure_http)
        except InstallError as error:
            yield Fault("plugins.install", str(error))
            continue
        if source.path is not None and not _is_there(source):
            yield Fault("plugins.install", f"{source.path} does not exist; make it, or remove it")


def _is_there(source: Source) -> bool:
    return any(path is not None and path.is_file() for path in (source.path, source.decoded))


def _problem_of_secret(file: Path) -> str:
    """Return what is wrong with the file of a secret, or an empty text."""
    try:
        found = file.stat()
        # What another user may not read, this one perhaps may; so it is opened, and not read.
        if stat.S_ISREG(found.st_mode):
            with file.open("rb"):
                pass
    except OSError as error:
        return f"{file}: {error.strerror}; make it, or change the path"
    if not stat.S_ISREG(found.st_mode):
        return f"{file}: is not a regular file; expected one with the secret in it"
    if found.st_mode & _FOR_OTHERS:
        mode = stat.S_IMODE(found.st_mode)
        return f"{file}: others can read it (mode {mode:04o}); try: chmod 600 {file}"
    return ""
