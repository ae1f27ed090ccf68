"""The programs of the guides do what the guides say, run as a reader would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.support.lab import Lab
from tests.support.serving import DEADLINE_S, VCONNECT, Serve, wait_until

from vconnect.cli.scaffold import create_project
from vconnect.packages.pack import pack

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# "Save this as `app.py`", and then the block.
SAVED = re.compile(
    r"[Ss]aved? (?:this )?as\s+`([\w./]+)`.*?^```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL
)

MESSAGE = {"from_uid": "ada"}
MESSAGE_JSON = json.dumps(MESSAGE)
PYTHON_PATH = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def guide(name: str) -> str:
    return (GUIDES / f"{name}.md").read_text(encoding="utf-8")


def saved_files(name: str) -> dict[str, str]:
    """What a guide says to save, by file name."""
    return {match[1]: match[2] for match in SAVED.finditer(guide(name))}


def blocks(name: str, language: str) -> list[str]:
    return [match[2] for match in BLOCK.finditer(guide(name)) if match[1] == language]


def make_plugin(lab: Lab) -> Path:
    """What ``vconnect new greeter`` makes."""
    create_project("greeter", lab.directory / "greeter")
    return lab.directory / "greeter"


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def program(lab: Lab, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run what a guide says to run in its directory; it has to end well on SIGTERM."""
    with (lab.directory / "output").open("wb") as output:
        process = subprocess.Popen(
            arguments,
            cwd=lab.directory,
            env={**os.environ, **PYTHON_PATH},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def output_of(lab: Lab) -> str:
    return (lab.directory / "output").read_text()


def ask(url: str, body: object = None) -> Any:
    """Send a request as soon as the server listens."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    answer: list[Any] = []

    def answered() -> bool:
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as response:
                answer.append(json.load(response))
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    wait_until(answered, url)
    return answer[0]


def printed_answer(name: str) -> Any:
    """What curl prints in a guide's console block."""
    (line,) = (line for line in guide(name).splitlines() if line.startswith('{"message"'))
    return json.loads(line)


def test_the_aiohttp_application_answers_and_ends(lab: Lab) -> None:
    make_plugin(lab)
    port = unused_port()
    app = saved_files("aiohttp")["app.py"].replace("8080", str(port))
    (lab.directory / "app.py").write_text(app)
    with program(lab, sys.executable, "-W", "error", "app.py") as process:
        url = f"http://127.0.0.1:{port}/messages"
        assert ask(url, MESSAGE) == printed_answer("aiohttp")
    assert process.returncode == 0, output_of(lab)
    assert not (lab.directory / "run" / "plugins.sock").exists()


def test_the_fastapi_application_answers_and_ends(lab: Lab) -> None:
    make_plugin(lab)
    (lab.directory / "api.py").write_text(saved_files("fastapi")["api.py"])
    port = unused_port()
    with program(lab, sys.executable, "-m", "uvicorn", "api:app", "--port", str(port)):
        url = f"http://127.0.0.1:{port}/messages"
        assert ask(url, MESSAGE) == printed_answer("fastapi")
    assert "Application shutdown complete" in output_of(lab)
    assert not (lab.directory / "run" / "plugins.sock").exists()


@pytest.mark.slow
def test_each_worker_has_a_host_of_its_own(lab: Lab) -> None:
    make_plugin(lab)
    (lab.directory / "workers.py").write_text(saved_files("workers")["workers.py"])
    port = unused_port()
    command = (sys.executable, "-m", "uvicorn", "workers:app", "--port", str(port))
    sockets = [lab.directory / "run" / f"worker-{number}.sock" for number in range(2)]
    with program(lab, *command, "--workers", "2") as process:
        answer = ask(f"http://127.0.0.1:{port}/plugins")
        assert Path(answer["socket"]) in sockets
        assert all(answer["pids"])
        wait_until(lambda: all(path.exists() for path in sockets), "both sockets")
    assert process.returncode == 0, output_of(lab)
    assert not any(path.exists() for path in sockets)


def test_a_shared_host_is_asked_from_another_process(lab: Lab) -> None:
    make_plugin(lab)
    (code,) = (block for block in blocks("workers", "python") if "UnixConnector" in block)
    admin = lab.socket.with_name("admin.sock")
    code = code.replace("/run/vconnect/admin.sock", str(admin))
    code += f"import asyncio\nprint(asyncio.run(emit('message.incoming', {MESSAGE!r})))\n"
    with Serve(lab, "--dev", "greeter:./greeter") as host:
        host.wait_until("greeter", "Running")
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
    assert "hello, ada" in done.stdout


def debug_settings(lab: Lab, number: int, more: str = "") -> Path:
    """The guide's settings for a debugger, without the paths that a lab gives itself."""
    settings = blocks("debugging", "toml")[number].replace('"./run/debug.sock"', f'"{lab.socket}"')
    file = lab.directory / "debug.toml"
    file.write_text(settings + more)
    return file


def line_of_the_answer(project: Path) -> int:
    lines = (project / "plugin.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if "ctx.reply(" in line)


def test_a_plugin_is_debugged_in_a_terminal(lab: Lab) -> None:
    project = make_plugin(lab)
    line = line_of_the_answer(project)
    assert f"(Pdb) break plugin.py:{line}\n" in guide("debugging")
    host = Serve(lab, "--config", str(debug_settings(lab, 0)))
    with host, (lab.directory / "pdb").open("wb") as output:
        wait_until(lab.socket.exists, "the host")
        debugger = subprocess.Popen(
            [sys.executable, "-m", "pdb", "--", "plugin.py", "--socket", "../run/host.sock"],
            cwd=project,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
        )
        assert debugger.stdin is not None
        debugger.stdin.write(f"break plugin.py:{line}\ncontinue\np sender\ncontinue\n".encode())
        debugger.stdin.flush()
        host.wait_until("greeter", "Running")
        emitted = host.ask("emit", "message.incoming", MESSAGE_JSON)
        debugger.terminate()
        debugger.communicate(timeout=DEADLINE_S)
    assert "hello, ada" in emitted.stdout
    assert "'ada'" in (lab.directory / "pdb").read_text()


def test_a_breakpoint_waits_on_a_socket(lab: Lab) -> None:
    project = make_plugin(lab)
    port = unused_port()
    helper = saved_files("debugging")["greeter/remote_pdb.py"].replace("4444", str(port))
    (project / "remote_pdb.py").write_text(helper)
    plugin = project / "plugin.py"
    code = plugin.read_text().replace(
        "        ctx.reply(", "        breakpoint()\n        ctx.reply("
    )
    plugin.write_text(code)
    more = "\n" + blocks("debugging", "toml")[2]
    with Serve(lab, "--config", str(debug_settings(lab, 1, more))) as host:
        host.wait_until("greeter", "Running")
        with subprocess.Popen(
            [*VCONNECT, "--admin", "run/admin.sock", "emit", "message.incoming", MESSAGE_JSON],
            cwd=lab.directory,
            stdout=subprocess.PIPE,
            text=True,
        ) as emit:
            host.wait_for_log("waiting for a debugger")
            with (
                socket.create_connection(("127.0.0.1", port), DEADLINE_S) as terminal,
                terminal.makefile() as said,
            ):
                terminal.sendall(b"p ctx.payload\ncontinue\n")
                lines = [said.readline() for _ in range(3)]
                answer, _ = emit.communicate(timeout=DEADLINE_S)
    assert str(MESSAGE) in "".join(lines)
    assert "hello, ada" in answer


def test_a_package_brings_its_libraries(lab: Lab) -> None:
    project = make_plugin(lab)
    (project / "vendor").mkdir()
    (project / "vendor" / "greetings.py").write_text('WORD = "good day"\n')
    path_lines = blocks("dependencies", "python")[-1]
    plugin = project / "plugin.py"
    future = "from __future__ import annotations\n"
    code = plugin.read_text().replace(future, f"{future}{path_lines}import greetings\n")
    plugin.write_text(code.replace("{self.config.greeting}", "{greetings.WORD}"))
    package = pack(project, lab.directory / "greeter.vp").path
    with Serve(lab, "--install", str(package)) as host:
        host.wait_until("greeter", "Running")
        assert "good day, ada" in host.ask("emit", "message.incoming", MESSAGE_JSON).stdout


@pytest.mark.slow
def test_a_plugin_is_upgraded_and_rolled_back_while_the_host_runs(lab: Lab) -> None:
    project = make_plugin(lab)
    old = pack(project, lab.directory / "greeter-0.1.0.vp").path
    for file in ("plugin.py", "plugin.json"):
        text = (project / file).read_text()
        assert "0.1.0" in text
        (project / file).write_text(text.replace("0.1.0", "0.2.0"))
    new = pack(project, lab.directory / "greeter-0.2.0.vp").path
    lines = blocks("upgrading", "console")[0].splitlines()
    with Serve(lab, "--install", str(old)) as host:
        host.wait_until("greeter", "Running")
        for command, told in zip(lines[::2], lines[1::2], strict=True):
            words = command.removeprefix("$ vconnect ").split()
            done = host.ask(*(str(new) if word.endswith(new.name) else word for word in words))
            assert (done.returncode, done.stdout) == (0, f"{told}\n")
            version = "0.2.0" if "install" in words else "0.1.0"
            assert host.status("greeter")["version"] == version


def check(lab: Lab) -> subprocess.CompletedProcess[str]:
    admin = str(lab.socket.with_name("admin.sock"))
    return subprocess.run(
        [sys.executable, "-c", saved_files("monitoring")["check.py"]],
        env={**os.environ, **PYTHON_PATH, "VCONNECT_ADMIN": admin},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_the_check_finds_what_is_down(lab: Lab) -> None:
    lab.plugin("good", "serve()")
    lab.plugin("bad", "sys.exit(3)")
    with Serve(lab, environ={"VCONNECT_RESTART": "never"}) as host:  # it stays down
        host.wait_until("good", "Running")
        host.wait_until("bad", "Error")
        found = check(lab)
        assert (found.returncode, found.stdout.count("\n")) == (2, 1)
        assert found.stdout.startswith("bad: exits with code 3")
        host.ask("stop", "bad")
        fine = check(lab)
        assert (fine.returncode, fine.stdout) == (0, "all plugins are as requested\n")
    gone = check(lab)
    assert gone.returncode == 2
    assert gone.stdout.startswith("host: no vconnect host answers")


def shell_commands(name: str, word: str) -> Iterator[str]:
    """The commands of a guide's console blocks that begin with a word, on one line each."""
    for block in blocks(name, "console"):
        for command in block.replace("\\\n", " ").splitlines():
            if command.startswith(f"$ {word} "):
                yield command.removeprefix("$ ")


@pytest.mark.slow
def test_a_backup_is_restored(lab: Lab) -> None:
    lab.plugin("greeter", "open(os.environ['VCONNECT_DATA_DIR'] + '/kept', 'w').close()\nserve()")
    lab.plugin("idle", "serve()")
    save, save_data = shell_commands("backup", "(cd")
    with Serve(lab) as host:
        host.wait_until("greeter", "Running")
        host.ask("stop", "idle")
        for command in (save, save_data):
            done = command.replace("cd /var/lib/vconnect ", f"cd {lab.directory} ")
            subprocess.run(done, shell=True, cwd=lab.directory, check=True)
    shutil.rmtree(lab.plugins)
    subprocess.run(["tar", "-xzf", "backup.tar.gz"], cwd=lab.directory, check=True)
    assert (lab.state / "data" / "greeter" / "kept").exists()
    assert not (lab.state / "run").exists()
    with Serve(lab) as host:
        host.wait_until("greeter", "Running")
        assert host.status("idle")["reason"] == "stopped by the operator"
    names = subprocess.run(
        ["tar", "-tzf", "greeter-data.tar.gz"],
        cwd=lab.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    kept = (lab.state / "data" / "greeter" / "kept").relative_to(lab.directory)
    assert str(kept) in names.stdout.splitlines()


# --- the life of a plugin ----------------------------------------------------------------------


def commands(name: str) -> list[tuple[str, list[str]]]:
    """Each command that a guide shows, and the lines that it shows of its output."""
    found: list[tuple[str, list[str]]] = []
    for line in "".join(blocks(name, "console")).splitlines():
        if line.startswith("$ "):
            found.append((line.removeprefix("$ "), []))
        else:
            found[-1][1].append(line)
    return found


def is_like(shown: str, line: str) -> bool:
    """Tell whether a line is as it is shown, but for what `…` stands for, and for its spaces."""
    parts = (r"\s+".join(map(re.escape, part.split())) for part in shown.split("…"))
    return re.fullmatch(r"\s*" + r"\s*.*\s*".join(parts) + r"\s*", line) is not None


def test_the_life_of_a_plugin_is_as_the_guide_tells_it(lab: Lab) -> None:
    pytest.importorskip("cryptography")
    for file, text in saved_files("life").items():
        (lab.directory / file).write_text(text)
    environ = {**os.environ, **PYTHON_PATH}
    with ExitStack() as stack:
        for command, shown in commands("life"):
            if command == "vconnect serve":
                stack.enter_context(program(lab, "vconnect", "serve"))
                wait_until(lambda: "running" in (lab.directory / "output").read_text())
                continue
            done = subprocess.run(
                ["bash", "-c", command],
                cwd=lab.directory,
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=DEADLINE_S,
                check=False,
            )
            assert done.returncode == 0, f"{command}: {done.stdout}"
            lines = iter(done.stdout.splitlines())
            for expected in shown:
                assert any(is_like(expected, line) for line in lines), (
                    f"{command}: no line like {expected!r} in {done.stdout}"
                )
