# cython: language_level=3, boundscheck=False, wraparound=False, initializedcheck=False
# cython: cdivision=True, binding=True, embedsignature=False, auto_pickle=False, autotestdict=False
"""Start a process, on request inside a cgroup: ``clone3(2)`` with ``CLONE_INTO_CGROUP``.

A process that is moved into its cgroup after its start may have forked before, and the move blocks
the caller for an RCU grace period of the whole machine (20 ms here). A process that is started in
its cgroup is there from its first instruction, at no cost. Neither `subprocess` nor most systems'
``posix_spawn`` can do that, so this module does what the latter does: the child borrows the
parent's memory (``CLONE_VM | CLONE_VFORK``), on its own stack, until it executes the program.

`subprocess` can also not undo a blocked or ignored signal, set a limit or give up privileges in the
child without running Python there. So every start on Linux goes through this module.

A cgroup requires Linux 5.7 on x86-64 or arm64; elsewhere `can_spawn_into` returns ``ENOSYS``.
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
        int ruleset
        int[2] kept
        const void* filter
        unsigned short steps
        long descriptors
        int failure
        int is_directory

    long start "vc_spawn" (vc_spawn* s)


cdef enum:
    STEP_BYTES = 8  # of struct sock_filter


cdef char** pointers(list strings) except NULL:
    """Build a NULL-terminated array; the bytes objects in `strings` own the memory it points to."""
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
    int cgroup,
    argv,
    directory,
    environment,
    int stdin,
    int stdout,
    int stderr,
    bint no_new_privs,
    int held=-1,
    long descriptors=-1,
    int ruleset=-1,
    int read=-1,
    bytes seccomp=b"",
):
    """Start a program as a session leader, in a cgroup from its first instruction. Linux only.

    Blocks until the program is executed, as ``vfork`` does. Like `subprocess`, it searches the PATH
    of ``environment``, and leaves only the three standard descriptors, ``held`` and ``read`` open.
    No signal is blocked or ignored in it, whatever is in the caller.

    Args:
        cgroup: A descriptor of the cgroup's directory; -1 for the caller's own cgroup.
        argv: The program and its arguments.
        directory: The working directory.
        environment: The whole environment.
        stdin: A descriptor for standard input; ``stdout`` and ``stderr`` likewise.
        no_new_privs: Whether the program and its descendants can never gain privileges.
        held: A descriptor that the program inherits as its descriptor 3, or -1 for none.
        descriptors: The soft limit on open descriptors; -1 for the caller's own.
        ruleset: A Landlock ruleset by which the program is restricted, or -1; it needs
            ``no_new_privs``.
        read: A descriptor that the program inherits as its descriptor 4, or -1 for none.
        seccomp: A filter of system calls, see the module of that name; it needs
            ``no_new_privs`` too.

    Returns:
        The PID. The caller is the parent and must wait for the process.

    Raises:
        OSError: The kernel refused. ``filename`` is the directory or the program if one of these is
            the reason, and ``None`` if the cgroup or a limit on processes is.
        ValueError: A string contains a zero byte, or a variable's name an equals sign.
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
        spawn.descriptors, spawn.ruleset = descriptors, ruleset
        spawn.kept[0], spawn.kept[1] = held, read
        if seccomp:
            spawn.filter, spawn.steps = <const char*> seccomp, len(seccomp) // STEP_BYTES
        pid = start(&spawn)
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
    """Try it with a process that exits at once.

    Returns:
        0, or the errno of the failure.
    """
    cdef vc_spawn spawn
    cdef long pid
    memset(&spawn, 0, sizeof(spawn))  # no directory, so the child only exits
    spawn.cgroup = cgroup
    pid = start(&spawn)
    if pid < 0:
        return -pid
    reap(pid)
    return 0


cdef reap(long pid):
    with suppress(ChildProcessError):  # the application may reap every child itself
        os.waitpid(pid, 0)


def candidates(program, environment):
    """List possible paths of a program: itself if it is a path, else one per directory of PATH."""
    if "/" in program:
        return [program]
    return [os.path.join(place, program) for place in os.get_exec_path(environment)]
