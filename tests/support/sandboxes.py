"""Plugins in sandboxes of bubblewrap, where there is one."""

from __future__ import annotations

import shutil

import pytest
from tests.support.lab import PLUGINS

from vconnect.processes.bubblewrap import _try

IN_BWRAP = {"sandbox": "bwrap", "sandbox_read": [str(PLUGINS)]}
"""Options for plugins of a lab, which read ``wire.py``."""

_PROGRAM = shutil.which("bwrap")
needs_bwrap = pytest.mark.skipif(
    _PROGRAM is None or bool(_try(_PROGRAM)),
    reason="bubblewrap is not installed, or user namespaces are not available",
)
