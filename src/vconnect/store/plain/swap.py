"""Exchanges two directories atomically."""

# Linux and macOS can swap two names in one step, so that at every moment either the old or the new
# version of a plugin has the plugin's name. Python does not provide this call.

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100  # Linux: relative to the working directory
_RENAME_EXCHANGE = 2  # Linux: renameat2(2)
_RENAME_SWAP = 2  # macOS: renamex_np(2)

# The errors of kernels and file systems that do not support the call.
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def exchange(first: Path, second: Path) -> bool:
    """Swap two existing names on one file system.

    Returns:
        False if this system or file system does not support it; nothing was changed then.

    Raises:
        OSError: It is supported, but failed for these two names.
    """
    # Imported here, because most commands never install anything.
    import ctypes

    # None stands for the running program, which has the C library loaded.
    library = ctypes.CDLL(None, use_errno=True)
    one, other = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(one, other, _RENAME_SWAP)
        else:
            failed = library.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE)
    except AttributeError:
        return False  # the C library is older than the call
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))
