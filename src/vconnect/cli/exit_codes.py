"""The exit codes of all commands, and which one a code of an error becomes."""

from __future__ import annotations

from collections.abc import Iterable

FAILED = 1
WRONG_USAGE = 2
NOT_RUNNING = 3
NO_SUCH_PLUGIN = 4
HOST_UNREACHABLE = 5
NOT_PERMITTED = 6
CONFLICT = 7
NOT_VERIFIED = 8
TIMED_OUT = 124  # as `timeout` has it
INTERRUPTED = 130  # as a shell reports SIGINT: 128 + 2

# Codes of the administration interface and of changes; all others are failures.
_OF_CODE = {
    "config_error": WRONG_USAGE,
    "config_refused": WRONG_USAGE,
    "manifest_error": WRONG_USAGE,
    "bad_request": WRONG_USAGE,
    "bad_json": WRONG_USAGE,
    "bad_field": WRONG_USAGE,
    "bad_query": WRONG_USAGE,
    "too_large": WRONG_USAGE,
    "unavailable": NOT_RUNNING,
    "not_connected": NOT_RUNNING,
    "circuit_open": NOT_RUNNING,
    "unknown_plugin": NO_SUCH_PLUGIN,
    "forbidden": NOT_PERMITTED,
    "no_token": NOT_PERMITTED,
    "bad_token": NOT_PERMITTED,
    "session_ended": NOT_PERMITTED,
    "role": NOT_PERMITTED,
    "confined": NOT_PERMITTED,
    "bad_host": NOT_PERMITTED,
    "bad_origin": NOT_PERMITTED,
    "cross_site": NOT_PERMITTED,
    "too_many_tries": NOT_PERMITTED,
    "consent_required": NOT_PERMITTED,
    "conflict": CONFLICT,
    "precondition_failed": CONFLICT,
    "signature_error": NOT_VERIFIED,
    "not_verified": NOT_VERIFIED,
    "deadline_exceeded": TIMED_OUT,
}
# With several plugins, the first of these that occurs is the command's.
_WORST_FIRST = (
    *(INTERRUPTED, WRONG_USAGE, HOST_UNREACHABLE, NOT_PERMITTED, NOT_VERIFIED, CONFLICT),
    *(TIMED_OUT, NO_SUCH_PLUGIN, NOT_RUNNING, FAILED),
)


def exit_code_of(code: str) -> int:
    """Return the exit code for the code of an error.

    >>> exit_code_of("unknown_plugin"), exit_code_of("internal")
    (4, 1)
    """
    return _OF_CODE.get(code, FAILED)


def worst(codes: Iterable[int]) -> int:
    """Return the exit code of a command whose parts have ended with these.

    >>> worst([0, 1, 4, 0]), worst([0, 0])
    (4, 0)
    """
    found = set(codes)
    return next((code for code in _WORST_FIRST if code in found), 0)
