"""How much memory the C library has handed out."""

from __future__ import annotations

import ctypes

import pytest

_FIELDS = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"


class _Mallinfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in _FIELDS.split()]


def bytes_in_use() -> int:
    """Return the bytes of all blocks in use; skip the test where glibc 2.33 is missing."""
    try:
        mallinfo2 = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        pytest.skip("needs mallinfo2 of glibc 2.33")
    mallinfo2.restype = _Mallinfo
    told = mallinfo2()
    return int(told.uordblks) + int(told.hblkhd)
