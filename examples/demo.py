"""The tour behind ``make demo``: pack, install, start, talk to, and then serve real plugins.

Every step is a command that a person could type; each is shown before it runs. An argument names
a directory to use instead of ``.run``.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
VCONNECT = Path(sys.executable).with_name("vconnect")
PACKED = ("word-filter", "auto-reply")

START_SECONDS = 30
COMPILE_SECONDS = 330  # the first `cargo run` compiles
VERSION_SECONDS = 20
MAX_SOCKET_PATH = 100

MESSAGES = (
    ("a message that the auto-reply answers", "hello, is anybody there?"),
    ("one that the word filter rewrites for the plugins after it", "what the heck"),
    ("one that the word filter stops: the plugins after it are not called", "free bitcoin here"),
)


def main() -> int:
    """Run the tour, then serve until Ctrl-C."""
    os.chdir(ROOT)
    os.environ.setdefault("PATH", os.defpath)  # an empty environment has none
    run_directory, options = choose_place()
    run_directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    title("Two plugins in Python, packed")
    packages = [run_directory / f"{name}.vp" for name in PACKED]
    for name, package in zip(PACKED, packages, strict=True):
        run("pack", f"examples/{name}", "--output", shown(package))

    title("A host that installs them, and runs others from source")
    serve = [*options, "serve"]
    serve += [word for package in packages for word in ("--install", shown(package))]
    serve += [word for name in dev_plugins() for word in ("--dev", f"{name}:examples/{name}")]
    with Host(serve) as host:
        if host.wait_until_ready(options):
            show_tour(host, options)
        return host.wait()


def choose_place() -> tuple[Path, list[str]]:
    """Return the tour's directory, and the options that lead to its sockets.

    By default it is ``.run``, as ``vconnect.toml`` says, so that no options are needed. In a
    checkout with a very long path no socket can be bound: the kernel's limit is about 100 bytes.
    """
    directory = ROOT / ".run"
    if len(sys.argv) == 1 and len(os.fsencode(directory / "runtime.sock")) <= MAX_SOCKET_PATH:
        return directory, []
    elsewhere = Path(tempfile.gettempdir()) / f"vconnect-tour-{os.getuid()}"
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else elsewhere
    os.environ["VCONNECT_SOCKET_PATH"] = str(directory / "runtime.sock")
    os.environ["VCONNECT_PLUGIN_DIR"] = str(directory / "plugins")
    return directory, ["--admin", str(directory / "admin.sock")]


def dev_plugins() -> list[str]:
    """Name the plugins that this machine can run from source."""
    names = []
    if runs("cc") and runs("make"):
        subprocess.run(["make", "--silent", "-C", EXAMPLES / "bare-c"], check=True)
        names.append("bare-c")
    else:
        say("(no working C compiler and make here: the plugin in C is left out)")
    if runs("cargo"):
        names.append("dev-rust")
    else:
        say("(no working cargo here: the plugin in Rust is left out)")
    return names


@functools.cache
def runs(tool: str) -> bool:
    """Return whether a tool works; a rustup without a toolchain has a cargo that does not."""
    try:
        return not subprocess.run(
            [tool, "version" if tool == "go" else "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=VERSION_SECONDS,
            check=False,
        ).returncode
    except (OSError, subprocess.TimeoutExpired):
        return False


class Host:
    """``vconnect serve`` in this terminal."""

    def __init__(self, arguments: list[str]) -> None:
        announce(*arguments)
        self._process = subprocess.Popen([VCONNECT, *arguments])

    def __enter__(self) -> Host:
        # Ctrl-C reaches the host as well, which ends in order; this program waits for it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._forward)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait()

    def _forward(self, number: int, _: object) -> None:
        self._process.send_signal(number)

    @property
    def is_alive(self) -> bool:
        """Whether the host runs."""
        return self._process.poll() is None

    def wait(self) -> int:
        """Wait for its end, and return its exit code."""
        return self._process.wait()

    def wait_until_ready(self, options: list[str]) -> bool:
        """Wait until no plugin is starting any more; false if the host ends before that."""
        until = time.monotonic() + (COMPILE_SECONDS if runs("cargo") else START_SECONDS)
        while self.is_alive and time.monotonic() < until:
            listed = subprocess.run(
                [VCONNECT, *options, "list", "--json"], capture_output=True, check=False
            )
            plugins = json.loads(listed.stdout)["plugins"] if not listed.returncode else []
            statuses = [plugin["status"] for plugin in plugins]
            if statuses and not {"Installed", "Starting"} & set(statuses):
                return True
            time.sleep(0.2)
        return self.is_alive


def show_tour(host: Host, options: list[str]) -> None:
    """Look at the plugins and send a few events, unless Ctrl-C ends the host meanwhile."""
    title("What is running")
    run(*options, "list")
    for what, content in MESSAGES:
        if not host.is_alive:
            return
        title(what[0].upper() + what[1:])
        payload = {"message_id": "1", "from_uid": "ada", "to_uid": "bob", "content": content}
        run(*options, "emit", "message.incoming", json.dumps(payload))
    if not host.is_alive:
        return
    title("Your turn: the host serves until Ctrl-C. In another terminal, in this directory:")
    emit = ["emit", "message.incoming", '{"content": "hello"}']
    for arguments in (["list"], ["status", "word-filter"], emit, ["restart", "auto-reply"]):
        say(f"  {command_line(*options, *arguments)}")
    say("  kill -9 a plugin's PID, then list again: it is running again, and the list says why")
    say("  .venv/bin/vconnect new hello      # start a plugin of your own")
    sys.stdout.flush()


def run(*arguments: str) -> None:
    """Show a command, then run it; the tour goes on if it fails, for its error is shown too."""
    announce(*arguments)
    subprocess.run([VCONNECT, *arguments], check=False)


def announce(*arguments: str) -> None:
    say(f"$ {command_line(*arguments)}")
    sys.stdout.flush()


def command_line(*arguments: str) -> str:
    return shlex.join([".venv/bin/vconnect", *arguments])


def title(text: str) -> None:
    say(f"\n== {text}")


def say(text: str) -> None:
    print(text, flush=True)


def shown(path: Path) -> str:
    """Name a file as one would type it here."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
