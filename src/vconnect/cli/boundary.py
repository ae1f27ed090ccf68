"""The last stop for errors of a command: one line on stderr (or one JSON value), one exit code."""

# The idea: commands report no errors themselves. They raise the errors of `vconnect.errors`, which
# are sorted by who made the mistake, and this module alone turns that into an exit code and a line
# of text. An exception that is none of them is a bug of ours, and is reported as such.

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from vconnect.errors import (
    AdminError,
    ConfigError,
    ConflictError,
    HostUnreachableError,
    ManifestError,
    SignatureError,
    UnknownPluginError,
    VConnectError,
    VerificationError,
)

from .context import State
from .exit_codes import (
    CONFLICT,
    FAILED,
    HOST_UNREACHABLE,
    INTERRUPTED,
    NO_SUCH_PLUGIN,
    NOT_VERIFIED,
    WRONG_USAGE,
    exit_code_of,
)
from .output import clean, print_json_lines

# Mistakes in what the operator wrote are "wrong usage", wherever they are found. The first class
# that matches decides.
_KINDS: tuple[tuple[type[VConnectError], int, str], ...] = (
    (ConfigError, WRONG_USAGE, "config_error"),
    (ManifestError, WRONG_USAGE, "manifest_error"),
    (HostUnreachableError, HOST_UNREACHABLE, "host_unreachable"),
    (SignatureError, NOT_VERIFIED, "signature_error"),
    (VerificationError, NOT_VERIFIED, "not_verified"),
    (ConflictError, CONFLICT, "conflict"),
    (UnknownPluginError, NO_SUCH_PLUGIN, "unknown_plugin"),
)


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """Run ``command`` and return its exit code. No exception leaves this function.

    An error is one line on stderr. With ``--json`` among the arguments it is one JSON value on
    stdout instead: ``{"error": {"code": …, "message": …, "next": …, "status": …}}``; ``status`` is
    that of HTTP, and ``null`` if the error is not the host's.
    """
    code = 0
    try:
        code = _run(command, list(arguments), State())
        _flush()
    # The reader, such as `head`, has seen enough. That is not an error worth a message.
    except BrokenPipeError:
        _forget_stdout()
        return FAILED
    except OSError as error:
        _forget_stdout()
        if code == 0:  # otherwise an error was reported, and it is what cannot be flushed
            click.echo(f"error: cannot write to stdout: {error.strerror}", err=True)
        return FAILED
    return code


def _run(command: click.Command, arguments: list[str], state: State) -> int:
    # Every error is reported once, here; commands only raise.
    as_json = _wants_json(arguments)
    try:
        code = command.main(
            # Standalone, click would print errors and exit by itself.
            arguments or ["--help"],
            prog_name="vconnect",
            obj=state,
            standalone_mode=False,
        )
    except click.Abort:
        return INTERRUPTED
    except SystemExit as ended:  # click's way to end with a closed pipe, standalone or not
        raise BrokenPipeError from ended
    except click.ClickException as error:
        return _tell(as_json, "usage", _usage(error), WRONG_USAGE)
    except BrokenPipeError:
        raise
    except VConnectError as error:
        _trace(state)
        exit_code, word = _sort(error)
        return _tell(as_json, word, str(error), exit_code, error)
    except OSError as error:
        _flush()  # fails again if it was stdout that could not be written
        _trace(state)
        return _tell(as_json, "os_error", _without_number(error), FAILED)
    except Exception as error:  # noqa: BLE001 - the boundary: one line instead of a traceback
        _trace(state)
        return _tell(as_json, "internal", _fault(error, state), FAILED)
    return code if isinstance(code, int) else 0


def _wants_json(arguments: list[str]) -> bool:
    """Look for ``--json`` by hand, because a usage error occurs before click has parsed options."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    return "--json" in arguments[:end]


def _sort(error: VConnectError) -> tuple[int, str]:
    """Return the exit code for an error, and its code in JSON."""
    if isinstance(error, AdminError):
        return exit_code_of(error.code), error.code
    for kind, exit_code, word in _KINDS:
        if isinstance(error, kind):
            return exit_code, word
    return FAILED, "failed"


# On stdout, because a program that asked for JSON reads its result there, even if it is an error.
def _tell(
    as_json: bool, code: str, message: str, exit_code: int, error: VConnectError | None = None
) -> int:
    status = error.status if isinstance(error, AdminError) else None
    step = error.next if isinstance(error, AdminError) else ""
    if as_json:
        from .forms import ErrorWords, Failure

        step = _advice(message) or step
        words = ErrorWords(code=code, message=message, next=step, status=status)
        # On one line, also behind the lines of what is followed.
        print_json_lines([Failure(error=words)])
    else:
        click.echo(f"error: {clean(message)}", err=True)
    return exit_code


def _advice(message: str) -> str:
    """Return the step to take, which our messages have behind their last semicolon."""
    return message.rpartition("; ")[2] if "; " in message else ""


def _usage(error: click.ClickException) -> str:
    """Format click's message like ours, and point to the help."""
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:]
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"{message}; see: {context.command_path} --help" if context else message


def _without_number(error: OSError) -> str:
    """Format an error with its file, but without Python's ``[Errno 13]``."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


def _fault(error: Exception, state: State) -> str:
    what = f"{type(error).__name__}: {error}"
    advice = "" if state.debug else "; for a traceback, use: vconnect --debug …"
    return f"internal error of vconnect: {what}{advice}"


def _trace(state: State) -> None:
    if state.debug:
        import traceback

        traceback.print_exc()


def _flush() -> None:
    """Flush now, while a closed pipe can still be handled, and not at the interpreter's exit."""
    if sys.stdout is not None:  # the parent process may have closed it
        sys.stdout.flush()


def _forget_stdout() -> None:
    """Point stdout to /dev/null, so that the interpreter's last flush does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
