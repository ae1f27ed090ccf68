"""All that is wrong with a configuration file, and with the files and directories that it names."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from vconnect.errors import (
    ConfigError,
    InstallError,
    ManifestError,
    PluginStartError,
    SocketError,
)
from vconnect.packages.command import dev_command
from vconnect.packages.config_schema.check import check_schema, find_violation
from vconnect.packages.contents import measure
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, merge_config, read_manifest_if_any
from vconnect.packages.source import Source, parse_source
from vconnect.safe_paths import find_danger
from vconnect.settings.dev_plugins import parse_dev_plugin
from vconnect.settings.load import defaults_beside, find_contradictions, read_file
from vconnect.settings.model import Settings
from vconnect.sockets.private_socket import check_length
from vconnect.store.listing import list_plugins, may_be_plugin
from vconnect.store.lock_file import LockFile
from vconnect.trust.keyring import Keyring
from vconnect.validation import Fault

from .report import Report, Subject, faulty

_FOR_OTHERS = stat.S_IRGRP | stat.S_IROTH


def check_configuration(file: Path) -> Report:
    """Look at a configuration file. Blocks."""
    try:
        reading = read_file(file)
    except ConfigError as error:
        return _report([_placed(error, file)])
    settings = msgspec.convert({**defaults_beside(file), **reading.values}, Settings)
    faults = [*reading.faults, *find_contradictions(settings), *_faults_of_paths(settings)]
    faults += _faults_of_configs(settings)
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
    yield from _faults_of_sockets(settings)
    yield from _faults_of_python(settings)
    yield from _faults_of_store_files(settings)
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
            continue
        try:
            dev_command(path.name, path)
        except PluginStartError as error:
            yield Fault("plugins.dev_plugins", error.message)


def _faults_of_sockets(settings: Settings) -> Iterator[Fault]:
    for key, path in (("socket_path", settings.socket_path), ("admin_path", settings.admin_socket)):
        try:
            check_length(Path(path))
        except SocketError as error:
            yield Fault(f"plugins.{key}", str(error))


def _faults_of_python(settings: Settings) -> Iterator[Fault]:
    chosen = {
        f"plugins.options.{name!r}.python": one.python for name, one in settings.options.items()
    }
    for place, program in {"plugins.python": settings.python, **chosen}.items():
        if program and shutil.which(program) is None:
            yield Fault(place, f"{program} is no program that can be run")
    wheels = settings.python_sdk_wheels
    if wheels and not Path(wheels).is_dir():
        yield Fault("plugins.python_sdk_wheels", f"{wheels} is not a directory")
    index = settings.python_index
    if index and not index.startswith(("https://", "http://", "file://")):
        yield Fault("plugins.python_index", f"got {index!r}; expected an address")


def _faults_of_store_files(settings: Settings) -> Iterator[Fault]:
    try:
        if settings.lock_file:
            LockFile(Path(settings.lock_file)).entries()
    except ConfigError as error:
        yield Fault("plugins.lock_file", str(error))
    try:
        keys = Keyring(Path(settings.trust_file)).keys() if settings.trust_file else {}
    except ConfigError as error:
        yield Fault("plugins.trust_file", str(error))
        return
    for place, source in settings.sources.items():
        for key in source.keys:
            if key not in keys:
                yield Fault(
                    f"plugins.sources.{place!r}.keys",
                    f"{key} is not trusted, so no package from there could be installed; to trust "
                    "it, use: vconnect trust",
                )


def _faults_of_configs(settings: Settings) -> Iterator[Fault]:
    """Yield where the configurations do not fit the schemas of the plugins that are there."""
    for name, manifest in _manifests(settings).items():
        values = merge_config(manifest.config, settings.config_of(name))
        try:
            check_schema(manifest.config_schema, name)
            problem = find_violation(manifest.config_schema, values)
        except ManifestError:
            continue  # of the package, which is another file
        if problem:
            yield Fault(f"plugins.config.{name!r}", problem)


def _manifests(settings: Settings) -> dict[str, Manifest]:
    """Return the manifests of the plugins that run from source or are installed, by name."""
    found: dict[str, Manifest] = {}
    plugins = Path(settings.plugin_dir)
    if plugins.is_dir() and os.access(plugins, os.R_OK | os.X_OK):
        for installed in list_plugins([one for one in plugins.iterdir() if may_be_plugin(one)]):
            if installed.manifest is not None:
                found[installed.name] = installed.manifest
    for text in settings.dev_plugins:
        with suppress(ConfigError, ManifestError):  # told elsewhere
            dev = parse_dev_plugin(text)
            manifest = read_manifest_if_any(dev.path / MANIFEST_NAME)
            if manifest is not None:
                found[dev.name] = manifest
    return found


def _faults_of_sources(settings: Settings) -> Iterator[Fault]:
    has_index = any(one.index for one in settings.sources.values())
    for text in settings.install:
        try:
            source = parse_source(text, allow_insecure_http=settings.allow_insecure_http)
        except InstallError as error:
            yield Fault("plugins.install", str(error))
            continue
        if source.wanted is not None and not has_index:
            yield Fault(
                "plugins.install",
                f"{source.shown} is neither a path nor a URL, and no table of sources has "
                "index = true; write a path with a slash, or name an index: "
                '[plugins.sources."https://…/"] index = true',
            )
        if source.path is not None and not _is_there(source):
            yield Fault("plugins.install", f"{source.path} does not exist; make it, or remove it")
        elif source.sha256 and source.path is not None:
            yield from _faults_of_digest(source)


def _faults_of_digest(source: Source) -> Iterator[Fault]:
    file = next(one for one in (source.path, source.decoded) if one is not None and one.is_file())
    try:
        digest, _ = measure(file)
    except OSError as error:
        yield Fault("plugins.install", f"{file}: {error.strerror}")
        return
    if digest != source.sha256:
        yield Fault("plugins.install", f"{file} has sha256 {digest}, not {source.sha256}")


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
