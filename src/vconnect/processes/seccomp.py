"""A filter of system calls, seccomp: what a plugin in a sandbox may not ask of the kernel.

A sandbox bounds what a process may reach; most ways out of one lead through the kernel's rarely
used calls. The list is that of Docker's default profile for a container without privileges: what
mounts, traces, loads code into the kernel, sets the machine's clock and names, makes namespaces, or
has brought one hole after another (keyrings, BPF, io_uring, userfaultfd). All else is allowed, so
that what an ordinary program asks for is there. A denied call fails with ``EPERM``, as it would
without rights; programs are used to that.
"""

from __future__ import annotations

import errno
import os
import platform
import struct
from collections.abc import Iterator

# By call: its numbers on x86-64 and on arm64, where it exists.
_DENIED = {
    "_sysctl": (156, None),
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "create_module": (174, None),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "get_kernel_syms": (177, None),
    "get_mempolicy": (239, 236),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "query_module": (178, None),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "set_mempolicy_home_node": (450, 450),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "sysfs": (139, None),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "uselib": (134, None),
    "userfaultfd": (323, 282),
    "ustat": (136, None),
    "vhangup": (153, 58),
}
# Those of which only some uses are denied. The flags of clone3 are in memory, where a filter cannot
# look; without it, programs call clone.
_CLONE, _CLONE3, _IOCTL, _PERSONALITY, _SOCKET = (
    *((56, 220), (435, 435), (16, 29)),
    *((135, 92), (41, 198)),
)
# The flags for new namespaces, among them CLONE_NEWUSER.
_NAMESPACES = 0x7E020000
# Characters that are put into a terminal as if somebody had typed them.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# Linux, with short inodes or the old layout of memory, and the question which it is.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
_FAMILIES = (1, 2, 10, 16)  # AF_UNIX, AF_INET, AF_INET6, AF_NETLINK

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_X32 = 0x40000000  # calls of x86-64 with this bit are those of another ABI

# Instructions of the classic BPF, see linux/bpf_common.h, and what a filter may return.
_LOAD, _IF_EQUAL, _IF_LEAST, _IF_ANY, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _FAIL = 0x7FFF0000, 0x00050000
# Where struct seccomp_data has the call's number, the architecture and the arguments.
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16


def obstacle_to_filter() -> str:
    """Return why this machine cannot filter system calls so; empty if it can."""
    if platform.machine() not in _ARCHITECTURES:
        known = " and ".join(_ARCHITECTURES)
        return f"this machine is {platform.machine()}; the filter has the calls of {known}"
    return ""


def make_filter() -> bytes:
    """Return the filter of this machine as instructions of the classic BPF."""
    column, architecture = _ARCHITECTURES[platform.machine()]
    return b"".join(_instructions(column, architecture))


def open_filter() -> int:
    """Return a descriptor from which the filter can be read; the caller closes it.

    Raises:
        OSError: Descriptors or memory ran out.
    """
    descriptor = os.memfd_create("seccomp", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, make_filter())
        os.lseek(descriptor, 0, os.SEEK_SET)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _instructions(column: int, architecture: int) -> Iterator[bytes]:
    yield _step(_LOAD, _ARCHITECTURE)
    yield _step(_IF_EQUAL, architecture, 1, 0)
    # A program for another architecture has other numbers for its calls.
    yield _step(_RETURN, _FAIL | errno.ENOSYS)
    yield _step(_LOAD, _NUMBER)
    if column == 0:
        yield _step(_IF_LEAST, _X32, 0, 1)
        yield _step(_RETURN, _FAIL | errno.ENOSYS)
    yield from _if_called(_CLONE3[column], [_step(_RETURN, _FAIL | errno.ENOSYS)])
    yield from _if_called(_CLONE[column], _unless_any(0, _NAMESPACES))
    yield from _if_called(_IOCTL[column], _unless_equal(1, (_TIOCSTI, _TIOCLINUX)))
    yield from _if_called(_PERSONALITY[column], _if_equal(0, _PERSONALITIES, errno.EPERM))
    yield from _if_called(_SOCKET[column], _if_equal(0, _FAMILIES, errno.EAFNOSUPPORT))
    denied = [numbers[column] for numbers in _DENIED.values()]
    for number in denied:
        if number is not None:
            yield from _if_called(number, [_step(_RETURN, _FAIL | errno.EPERM)])
    yield _step(_RETURN, _ALLOW)


def _if_called(number: int, then: list[bytes]) -> Iterator[bytes]:
    yield _step(_IF_EQUAL, number, 0, len(then))
    yield from then


def _unless_any(argument: int, flags: int) -> list[bytes]:
    """Deny a call whose argument has any of these flags."""
    return [
        _load(argument),
        _step(_IF_ANY, flags, 0, 1),
        _step(_RETURN, _FAIL | errno.EPERM),
        _step(_RETURN, _ALLOW),
    ]


def _unless_equal(argument: int, values: tuple[int, ...]) -> list[bytes]:
    """Deny a call whose argument is one of these."""
    return [
        _load(argument),
        *_any_of(values),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _FAIL | errno.EPERM),
    ]


def _if_equal(argument: int, values: tuple[int, ...], otherwise: int) -> list[bytes]:
    """Allow a call whose argument is one of these."""
    return [
        _load(argument),
        *_any_of(values),
        _step(_RETURN, _FAIL | otherwise),
        _step(_RETURN, _ALLOW),
    ]


def _any_of(values: tuple[int, ...]) -> Iterator[bytes]:
    """Skip the instruction after these if the accumulator is one of the values."""
    for left in range(len(values), 0, -1):
        yield _step(_IF_EQUAL, values[-left], left, 0)


def _load(argument: int) -> bytes:
    # The lower half, on machines that store it first: the kernel looks at no more of these.
    return _step(_LOAD, _ARGUMENTS + 8 * argument)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
