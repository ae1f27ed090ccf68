"""Asks the rules in a process of its own, which is started for one question.

The process has limits that the kernel enforces, so whatever a schema makes of it, the host goes on.
"""

from __future__ import annotations

import json
import subprocess
import sys

from .rules import Schema, Verdict, judge_patiently

# Processor time for everything, an honest schema of the largest size included; and how long the
# host waits for it on a machine that is busy.
_CPU_S = 5
_PATIENCE_S = 60.0
_MEMORY_BYTES = 1 << 30


def judge_apart(schema: Schema, config: Schema | None) -> Verdict:
    """Ask the rules in another process. Blocks for a fifth of a second, and seconds at most.

    Raises:
        OSError: The process cannot be started.
    """
    # A program's own values are refused where they would be sent, not here.
    question = json.dumps([schema, config], default=repr, skipkeys=True)
    command = [sys.executable, "-P", "-m", __name__]
    try:
        done = subprocess.run(
            command,
            input=question.encode(errors="replace"),
            capture_output=True,
            timeout=_PATIENCE_S,
            start_new_session=True,  # Ctrl-C is not meant for it
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict(f": checking it takes longer than {_PATIENCE_S:g} s")
    if done.returncode != 0:
        return Verdict(_why_it_ended(done.returncode))
    return Verdict(*json.loads(done.stdout))


def _why_it_ended(code: int) -> str:
    if code < 0:
        limits = f"{_CPU_S} s of processor time or {_MEMORY_BYTES >> 20} MiB"
        return f": checking it takes more than {limits} (signal {-code})"
    return f": checking it takes more than {_MEMORY_BYTES >> 20} MiB, or fails (exit code {code})"


def main() -> None:
    """Answer one question: the schema and the configuration, as JSON."""
    import resource

    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    schema, config = json.load(sys.stdin.buffer)
    json.dump(judge_patiently(schema, config), sys.stdout)


if __name__ == "__main__":
    main()
