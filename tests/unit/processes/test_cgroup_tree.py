"""Where a host may make cgroups, as the kernel's files tell it."""

from __future__ import annotations

import pytest

from vconnect.processes.cgroup_tree import _before_the_move, _unescaped


@pytest.mark.parametrize(
    ("path", "base"),
    [
        ("/", "/"),
        ("/system.slice/vconnect.service", "/system.slice/vconnect.service"),
        (
            "/system.slice/vconnect.service/vconnect-0123456789ab/host",
            "/system.slice/vconnect.service",
        ),
        ("/vconnect-0123456789ab/host", "/"),
        # What others have called so, or what a plugin that is a host itself is in.
        ("/system.slice/vconnect-prod.service/host", "/system.slice/vconnect-prod.service/host"),
        ("/vconnect-app/host", "/vconnect-app/host"),
        ("/vconnect-0123456789ab/example.1", "/vconnect-0123456789ab/example.1"),
    ],
)
def test_a_host_that_has_made_room_knows_where_it_came_from(path: str, base: str) -> None:
    assert _before_the_move(path) == base


def test_a_mount_point_may_have_spaces() -> None:
    assert _unescaped(r"/mnt/a\040b\134c") == r"/mnt/a b\c"
