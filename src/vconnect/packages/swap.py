"""Exchanging two directories in one step.

Linux and macOS can swap two names atomically, so that no moment exists in which neither the old
nor the new version of a plugin has the plugin's name. Python does not offer the call.
"""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100  # Linux: relative to the working directory
_RENAME_EXCHANGE = 2  # Linux: renameat2(2)
_RENAME_SWAP = 2  # macOS: renamex_np(2)

# What a kernel or a file system says that does not know the call.
_UNSUPPORTED = frozenset({errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def exchange(first: Path, second: Path) -> bool:
    """Swap two existing names of one file system.

    Returns:
        False if this system or file system cannot do it; then nothing was changed.

    Raises:
        OSError: It can, but these two names cannot be swapped.
    """
    # Not at the top: most commands never install anything.
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    one, other = os.fsencode(first), os.fsencode(second)
    try:
        if sys.platform == "darwin":
            failed = library.renamex_np(one, other, _RENAME_SWAP)
        else:
            failed = library.renameat2(_AT_FDCWD, one, _AT_FDCWD, other, _RENAME_EXCHANGE)
    except AttributeError:
        return False  # a C library older than the call
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(first), None, str(second))
