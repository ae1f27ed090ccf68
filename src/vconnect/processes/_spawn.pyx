# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Starting a process inside a cgroup: ``clone3(2)`` with ``CLONE_INTO_CGROUP``.

A process that is moved into its cgroup after its start may have forked before, and the move keeps
its caller waiting for the whole machine (20 ms here, an RCU grace period). Born there, it is there
from its first instruction, at no cost. Neither `subprocess` nor the C library's ``posix_spawn`` of
most systems can do that, so this module does what the latter does: the child borrows the parent's
memory (``CLONE_VM | CLONE_VFORK``), on a stack of its own, until it executes the program.

Linux 5.7 and newer, on x86-64 and arm64; elsewhere `can_spawn_into` says no.
"""

from cpython.mem cimport PyMem_Free, PyMem_Malloc
from libc.string cimport memset

import os
from contextlib import suppress

cdef extern from "_spawn.h":
    struct vc_spawn:
        char** programs
        char** argv
        char** envp
        const char* directory
        int input
        int output
        int error
        int cgroup
        int no_new_privs
        int failure
        int is_directory

    long vc_spawn_into(vc_spawn* s)


cdef char** pointers(list strings) except NULL:
    """Lay out a NULL-terminated array; `strings`, of bytes, own what it points to."""
    cdef Py_ssize_t i, count = len(strings)
    cdef bytes one
    cdef char** array = <char**> PyMem_Malloc((count + 1) * sizeof(char*))
    if array == NULL:
        raise MemoryError
    for i in range(count):
        one = strings[i]
        array[i] = one
    array[count] = NULL
    return array


cdef bytes c_string(object text):
    cdef bytes encoded = os.fsencode(text)
    if b"\0" in encoded:
        raise ValueError("embedded null byte")
    return encoded


cdef bytes variable(str name, str value):
    if not name or "=" in name:
        raise ValueError(f"illegal environment variable name: {name!r}")
    return c_string(f"{name}={value}")


def spawn_into(
    int cgroup, argv, directory, environment, int stdin, int stdout, int stderr, bint no_new_privs
):
    """Start a program as the leader of a session, in a cgroup from its first instruction.

    Blocks until it is executed, as ``vfork`` does. Like `subprocess`, it looks the program up in
    the PATH of ``environment``, leaves the three standard descriptors alone open, and resets what
    Python has done to signals.

    Args:
        cgroup: A descriptor of the cgroup's directory.
        argv: The program and its arguments.
        directory: Where it runs.
        environment: Its whole environment.
        stdin: What it gets as standard input; ``stdout`` and ``stderr`` likewise.
        no_new_privs: Whether it and all that it starts can never gain privileges.

    Returns:
        Its PID. The caller is its parent and has to wait for it.

    Raises:
        OSError: The kernel refuses. ``filename`` is the directory or the program if one of these is
            the reason, and ``None`` if it is the cgroup, or there can be no further process.
        ValueError: A string holds a zero byte, or a variable's name an equals sign.
    """
    cdef list arguments = [c_string(one) for one in argv]
    cdef list variables = [variable(name, value) for name, value in environment.items()]
    cdef list programs = [c_string(one) for one in candidates(argv[0], environment)]
    cdef bytes place = c_string(directory)
    cdef vc_spawn spawn
    cdef long pid
    memset(&spawn, 0, sizeof(spawn))
    try:
        spawn.argv = pointers(arguments)
        spawn.envp = pointers(variables)
        spawn.programs = pointers(programs)
        spawn.directory = place
        spawn.input, spawn.output, spawn.error = stdin, stdout, stderr
        spawn.cgroup, spawn.no_new_privs = cgroup, no_new_privs
        pid = vc_spawn_into(&spawn)
    finally:
        PyMem_Free(spawn.argv)
        PyMem_Free(spawn.envp)
        PyMem_Free(spawn.programs)
    if pid < 0:
        raise OSError(-pid, os.strerror(-pid))
    if spawn.failure:
        reap(pid)
        where = directory if spawn.is_directory else argv[0]
        raise OSError(spawn.failure, os.strerror(spawn.failure), os.fspath(where))
    return pid


def can_spawn_into(int cgroup):
    """Try it with a process that ends at once.

    Returns:
        0, or the errno that says why not.
    """
    cdef vc_spawn spawn
    cdef long pid
    memset(&spawn, 0, sizeof(spawn))  # no directory, so the child only exits
    spawn.cgroup = cgroup
    pid = vc_spawn_into(&spawn)
    if pid < 0:
        return -pid
    reap(pid)
    return 0


cdef reap(long pid):
    with suppress(ChildProcessError):  # the application waits for every child, or for none
        os.waitpid(pid, 0)


def candidates(program, environment):
    """List where a program may be: as it is if that is a path, else in each directory of PATH."""
    if "/" in program:
        return [program]
    return [os.path.join(place, program) for place in os.get_exec_path(environment)]
