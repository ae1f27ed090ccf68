"""The stub of the compiled module; its docstrings are in ``_spawn.pyx``."""

from collections.abc import Mapping, Sequence
from os import PathLike

def spawn_into(
    cgroup: int,
    argv: Sequence[str],
    directory: str | PathLike[str],
    environment: Mapping[str, str],
    stdin: int,
    stdout: int,
    stderr: int,
    no_new_privs: bool,
    held: int = -1,
    descriptors: int = -1,
    ruleset: int = -1,
    read: int = -1,
    seccomp: bytes = b"",
) -> int: ...
def can_spawn_into(cgroup: int) -> int: ...
def candidates(program: str, environment: Mapping[str, str]) -> list[str]: ...
