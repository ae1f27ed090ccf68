"""What tests need to know of this machine's cgroups."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from vconnect.processes.cgroup_tree import CgroupTree
from vconnect.settings.model import Settings
from vconnect.settings.parts import CgroupSettings


def _why_none() -> str:
    with TemporaryDirectory() as directory:
        tree = CgroupTree(Settings().part(CgroupSettings), str(Path(directory, "host.sock")))
        tree.open()
        tree.close()
    return tree.problem


WHY_NONE = _why_none() if os.environ.get("VCONNECT_CGROUP") != "off" else "VCONNECT_CGROUP=off"

needs_cgroups = pytest.mark.skipif(bool(WHY_NONE), reason=f"no cgroups here: {WHY_NONE}")

#: With a cgroup for each start where there are any, and without.
both_ways = pytest.mark.parametrize(
    "cgroup", [pytest.param("on", marks=needs_cgroups), "off"], ids=["cgroup", "no-cgroup"]
)


def members(path: Path) -> list[int]:
    """List the processes in a cgroup; none if it has been removed."""
    try:
        return [int(line) for line in (path / "cgroup.procs").read_text().split()]
    except OSError:
        return []
