"""Checks a plugin's configuration against the schema of its version, before a start."""

# Checking may take a second, so it is done in a thread before the start, for every version that the
# start may choose. The start itself then only looks the result up. If the files have changed in
# between, it checks again where it is, rarely: what takes more than a moment is tried again later.

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from vconnect.errors import ConfigError, ManifestError, PluginStartError
from vconnect.packages.config_schema.check import answer, answer_at_once, refuse
from vconnect.packages.config_schema.rules import Verdict
from vconnect.packages.manifest import MANIFEST_NAME, Manifest, merge_config, read_manifest_if_any
from vconnect.plugins.runtime import PluginRuntime
from vconnect.threads import in_thread

_MAX_RESULTS = 1024


class ConfigChecks:
    """Remembers which configurations fit."""

    def __init__(self) -> None:
        # For each plugin, what was checked: its files and its configuration.
        self._prepared: dict[str, tuple[object, ...]] = {}
        self._results: dict[bytes, Verdict] = {}

    def is_prepared(self, plugin: PluginRuntime) -> bool:
        """Return whether `check` has nothing to do that takes long."""
        has_schema = plugin.manifest is not None and bool(plugin.manifest.config_schema)
        if not has_schema and plugin.next_version is None:
            return True
        return self._prepared.get(plugin.name) == _state_of(plugin)

    async def prepare(self, plugin: PluginRuntime) -> None:
        """Check the configuration against each version that a start may choose."""
        state = _state_of(plugin)
        await in_thread(None, self._check_versions, plugin)
        self._prepared[plugin.name] = state

    def check(self, plugin: PluginRuntime, manifest: Manifest | None, origin: Path) -> None:
        """Refuse a start with a configuration that the version's schema does not allow.

        Args:
            plugin: The plugin, with the operator's configuration.
            manifest: The version's manifest.
            origin: The manifest's file, for messages.

        Raises:
            ManifestError: Its ``config_schema`` cannot be used.
            ConfigError: The configuration violates it; the text says where, and what is expected.
            PluginStartError: The manifest has changed since it was checked, and that takes long.
        """
        if manifest is None or not manifest.config_schema:
            return
        config = merge_config(manifest.config, plugin.config)
        verdict = self._look_up(manifest.config_schema, config, answer_at_once)
        if verdict is None:
            self._prepared.pop(plugin.name, None)
            words = f"{origin} has changed since its config_schema was checked; it is checked again"
            raise PluginStartError(plugin.name, words, is_momentary=True)
        refuse(verdict, str(origin))
        if verdict.violation:
            raise ConfigError(
                f"invalid configuration: {verdict.violation}; "
                f"set it in [plugins.config.{plugin.name}]"
            )

    def _look_up(
        self, schema: dict[str, Any], config: dict[str, Any], ask: Callable[..., Verdict | None]
    ) -> Verdict | None:
        """Return the verdict that is remembered; else ask for it."""
        key = hashlib.sha256(
            repr(schema).encode("utf-8", "surrogatepass")
            + repr(config).encode("utf-8", "surrogatepass")
        ).digest()
        verdict = self._results.get(key)
        if verdict is None and (verdict := ask(schema, config)) is not None:
            # In normal use there is one result for each plugin.
            if len(self._results) >= _MAX_RESULTS:
                self._results.clear()
                self._prepared.clear()
            self._results[key] = verdict
        return verdict

    def _check_versions(self, plugin: PluginRuntime) -> None:
        for file in _manifests_of(plugin):
            # What is wrong with it, the start reports, if it chooses this version.
            with suppress(ManifestError):
                manifest = read_manifest_if_any(file)
                if manifest is not None and manifest.config_schema:
                    config = merge_config(manifest.config, plugin.config)
                    self._look_up(manifest.config_schema, config, answer)


def _manifests_of(plugin: PluginRuntime) -> list[Path]:
    """Return the manifest files of the versions that a start may choose."""
    directories = [plugin.path]
    if plugin.next_version is not None:
        directories.append(plugin.next_version.package)
    return [directory / MANIFEST_NAME for directory in directories if directory is not None]


def _state_of(plugin: PluginRuntime) -> tuple[object, ...]:
    return repr(plugin.config), *map(_identity, _manifests_of(plugin))


def _identity(file: Path) -> tuple[str, int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return str(file), status.st_ino, status.st_size, status.st_mtime_ns
