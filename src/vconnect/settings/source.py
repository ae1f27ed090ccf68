"""Where a host's settings come from, so that it can read them again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from vconnect.errors import ConfigError
from vconnect.safe_paths import find_danger

from .differences import is_same
from .load import load_settings
from .model import Settings
from .variables import TABLES, variable_of


class SettingsSource(msgspec.Struct, frozen=True, kw_only=True):
    """A configuration file, the environment and the options of a command.

    Attributes:
        file: The TOML file, or ``None``.
        environ: The environment.
        overrides: What the command line gave, by key; ``None`` means not given.
        options: The name of the option that sets a key, where it is not the key itself.
    """

    file: Path | None = None
    environ: Mapping[str, str] = {}
    overrides: Mapping[str, Any] = {}
    options: Mapping[str, str] = {}

    def load(self) -> Settings:
        """Read the settings. Blocks on the file.

        Raises:
            ConfigError: The file cannot be read, a value is invalid, or another user could change
                the file.
        """
        settings = load_settings(self.file, self.environ, self.overrides)
        if self.file is None or settings.insecure_paths:
            return settings
        if danger := find_danger(self.file):
            raise ConfigError(
                f"{self.file} is not obeyed: {danger}; it decides what is run. Make it yours, or "
                "set VCONNECT_INSECURE_PATHS=1 to use it all the same"
            )
        return settings

    def file_alone(self) -> Settings:
        """Read what the file says, whatever wins over it. Blocks on the file."""
        return load_settings(self.file)

    def without_effect(self, before: Settings, after: Settings) -> list[str]:
        """Say which changes of the file have no effect, because something else sets the key.

        Args:
            before: What the file alone said, see `file_alone`.
            after: What it says now.
        """
        return [
            f"{key}: is set by {setter}; the file's change has no effect"
            for key in Settings.__struct_fields__
            if not is_same(getattr(before, key), getattr(after, key))
            and (setter := self._setter(key))
        ]

    def _setter(self, key: str) -> str:
        if self.overrides.get(key) is not None:
            return self.options.get(key, f"--{key.replace('_', '-')}")
        variable = variable_of(key)
        return variable if key not in TABLES and variable in self.environ else ""
