"""What commands print with ``--json``: one value or lines of them, as the published schemas say."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import click
import jsonschema
import pytest
from tests.support.index_kit import made
from tests.support.lab import ECHO, Lab, new_lab
from tests.support.serving import DEADLINE_S, VCONNECT, Serve

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.packages.pack import pack
from vconnect.trust.files import write_keys
from vconnect.trust.minisign import PublicKey
from vconnect.trust.passwords import seal
from vconnect.trust.signing import generate

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas"
NOWHERE = "/nowhere/admin.sock"
CONFIG = """
[plugins]
inherit_env = ["PYTHONPATH"]
restart = "never"
[plugins.config.echo]
limit = 5
[plugins.sources."{site}"]
index = true
"""


class Case(NamedTuple):
    """A command that is run.

    Attributes:
        words: The command and its arguments, in which places are in braces.
        code: Its exit code.
        error: The code of the error that it prints; empty if it prints what it has found.
        says: What it says on stderr; empty for nothing.
    """

    words: str
    code: int = 0
    error: str = ""
    says: str = ""


def does(*words: str) -> list[Case]:
    return [Case(one) for one in words]


#: By topic, in this order: some need what others have done.
CASES = {
    "looking": [
        *does("list", "list --wide --sort p99", "list --versions tool", "list --versions echo"),
        *does("status", "status echo", "status crash --crashes", "why echo", "top", "dashboard"),
        Case("why crash", 1),
        *does("logs echo", "logs --all --host -n 5", "logs crash --level error"),
        *does("top -n 2 -d 0.1", "doctor", "verify", "verify tool", "outdated", "outdated tool"),
        *does("search", "search nothing-like-it", "info tool", "info tool@1"),
        *does("config get echo", "config get echo limit"),
    ],
    "orders": [
        *does("restart echo", "stop echo", "start echo", "disable echo", "enable echo"),
        *does("release echo", "release --all", "stop e* --dry-run", "restart echo tool"),
        Case("start crash", 1, "start_failed"),
        Case("start echo crash", 1),
        Case("start nobody echo", 4),
        *does("emit test.event {payload}", "emit test.event {payload} --mode broadcast"),
        *does("emit test.event {payload} --plugin echo", "emit nobody.wants.this []"),
    ],
    "packages": [
        Case("install {packages}/other-1.0.0.vp --dry-run"),
        *does("install {packages}/other-1.0.0.vp", "install {packages}/other-1.0.0.vp"),
        Case("install {packages}/other-1.1.0.vp", 7),
        *does("install {packages}/other-1.1.0.vp --upgrade", "rollback other", "upgrade other"),
        *does("list --versions other", "verify other", "outdated other", "info other"),
        Case("upgrade other nobody", 4),
        Case("rollback other 9.9.9", 1),
        Case("rollback nobody", 4),
        *does("uninstall other --dry-run", "uninstall other --purge"),
        Case("uninstall nobody", 4),
        *does("rescan --dry-run", "rescan"),
    ],
    "settings": [
        *does("config set echo limit=6 --dry-run", "config set echo limit=7 more.words=[1,2]"),
        *does("config get echo", "config unset echo limit more.words"),
        *does("reload --dry-run", "reload"),
    ],
    "files": [
        *does("new demo", "check demo", "pack demo", "check demo-0.1.0.vp", "check vconnect.toml"),
        Case("check bad.toml", 2),
        *does("keygen --no-password", "sign demo-0.1.0.vp --key vconnect.key"),
        *does("pack demo -o signed.vp --sign vconnect.key", "info ./signed.vp"),
        *does("trust {key}.pub --file trust.toml --dry-run", "trusted --file trust.toml"),
        *does("trust {key}.pub --file trust.toml --for demo* --not-after 2999-01-31"),
        *does("trusted --file trust.toml", "untrust {id} --file trust.toml --dry-run"),
        *does("untrust {id} --file trust.toml --revoke --reason lost", "trusted --file trust.toml"),
        *does("index build .", "index build . --sign vconnect.key"),
        *does("index yank . demo 0.1.0 --reason wrong --sign vconnect.key"),
        *does("index yank . demo 0.1.0 --undo --sign vconnect.key"),
        Case("index build {packages}/bad", 1),
    ],
    "refusals": [
        *(Case(f"{one} nobody", 4, "unknown_plugin") for one in "status why config¬get".split()),
        *(
            Case(f"{one} nobody", 4, "unknown_plugin")
            for one in "start stop restart enable disable release verify outdated".split()
        ),
        Case("list --versions nobody", 4, "unknown_plugin"),
        Case("logs nobody", 4, "unknown_plugin"),
        Case("logs", 2, "usage"),
        Case("logs x* ", 2, "usage"),
        Case("tail --slow never", 2, "usage"),
        Case("top -n 0", 2, "usage"),
        Case("config get echo nothing", 2, "usage"),
        Case("config set echo limit", 2, "usage"),
        Case("config set nobody limit=1", 4, "unknown_plugin"),
        Case("config unset nobody limit", 4, "unknown_plugin"),
        Case("emit test.event {", 2, "usage"),
        Case("emit test.event {payload} --plugin crash", 3, "not_connected"),
        Case("emit test.event {payload} --plugin nobody", 4, "unknown_plugin"),
        Case("info nobody", 4, "unknown_plugin"),
        Case("info ./missing.vp", 1, "failed"),
        Case("install relative --sha256 nonsense", 2, "usage"),
        Case("install --yes --grant log x", 2, "usage"),
        Case("upgrade", 2, "usage"),
        Case("uninstall echo --all", 2, "usage"),
        Case("dashboard extra", 2, "usage"),
        Case("search a b", 2, "usage"),
        Case("rescan now", 2, "usage"),
        Case("reload now", 2, "usage"),
        Case("doctor --config missing.toml --admin /nowhere/admin.sock", 2, "config_error"),
        Case("new ../x", 2, "config_error"),
        Case("new demo --dir {packages}", 2, "config_error"),
        Case("check missing", 2, "usage"),
        Case("pack {packages}", 2, "manifest_error"),
        Case("keygen {key} --no-password", 8, "signature_error"),
        Case("keygen", 2, "config_error"),
        Case("sign vconnect.toml --key {key}.pub", 8, "signature_error"),
        Case("sign missing --key {key}.key", 1, "os_error"),
        Case("trust nonsense --file t", 8, "signature_error"),
        Case("trust {key}.pub --not-after 2001-01-31", 2, "usage"),
        Case("untrust 0123456789ABCDEF --file t", 2, "config_error"),
        Case("trusted --config missing.toml", 2, "config_error"),
        Case("index build missing", 2, "usage"),
        Case("index yank . demo 1 --reason x", 1, "failed"),
        Case("bench --quick --fast", 2, "usage"),
        Case("rollback", 2, "usage"),
    ],
}
#: These have tests of their own.
ALONE = {"bench", "tail"}


# --- the commands ----------------------------------------------------------------------------


def commands(group: click.Group = root, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name)


def command_of(words: tuple[str, ...]) -> click.Command:
    command: click.Command = root
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command


def has_option(words: tuple[str, ...], option: str) -> bool:
    return any(option in one.opts for one in command_of(words).params)


WITH_JSON = [words for words in commands() if has_option(words, "--json")]


def name_of(case: Case) -> tuple[str, ...]:
    words = case.words.replace("¬", " ").split()
    return next(one for one in WITH_JSON if one == (*words[: len(one)],))


def test_every_command_has_json_but_those_that_talk_to_a_person() -> None:
    without = {" ".join(words) for words in commands()} - {" ".join(words) for words in WITH_JSON}
    # `schema` prints JSON anyway.
    assert without == {"serve", "dev", "ui", "man", "schema"}


def test_every_command_with_json_has_its_schema_and_its_cases() -> None:
    published = {file.stem for file in SCHEMAS.glob("*.json")}
    assert {"-".join(words) for words in WITH_JSON} | {"error"} == published
    good = {name_of(case) for topic in CASES for case in CASES[topic] if not case.error}
    bad = {name_of(case) for topic in CASES for case in CASES[topic] if case.error}
    assert {" ".join(one) for one in {*WITH_JSON} - good} == ALONE
    assert {*WITH_JSON} - bad == set()


# --- how they are run ------------------------------------------------------------------------


class Stage:
    """A host, and a directory with what commands need."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.admin = str(lab.socket.with_name("admin.sock"))
        self.site = lab.directory / "site"
        self.packages = lab.directory / "packages"
        key = generate()
        self.public = PublicKey(key.number, key.public, "")
        self.key = lab.directory / "own"
        write_keys(self.key, seal(key, ""), self.public)
        for path in (self.site, self.packages, self.packages / "bad"):
            path.mkdir()
        (self.packages / "bad" / "empty.vp").touch()
        for version in ("1.0.0", "1.1.0"):
            self._publish(version)

    def _publish(self, version: str) -> None:
        for name, place in (("tool", self.site), ("other", self.packages)):
            source = self.lab.source(name, ECHO, below=f"source-{version}", version=version)
            pack(source, place / f"{name}-{version}.vp")
        made(self.site)

    def configured(self) -> str:
        file = self.lab.directory / "vconnect.toml"
        file.write_text(CONFIG.format(site=self.site))
        return str(file)

    def arguments(self, case: Case, admin: str = "") -> list[str]:
        """Return what is typed."""
        places = {
            "packages": str(self.packages),
            "key": str(self.key),
            "id": self.public.id,
            "payload": '{"n":1}',
        }
        words = re.sub(r"{(\w+)}", lambda found: places[found[1]], case.words)
        return ["--admin", admin or self.admin, *words.replace("¬", " ").split(), "--json"]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with new_lab() as lab:
        stage = Stage(lab)
        lab.plugin("echo", 'serve(capabilities=["test"])')
        lab.plugin("crash", 'sys.exit("cannot go on")')
        options = ("--http", "127.0.0.1:0", "--no-guardian", "--no-uvloop")
        with Serve(lab, "--config", stage.configured(), *options) as host:
            host.wait_for_log("running")
            host.wait_until("echo", "Running")
            host.wait_until("crash", "Error")
            done = host.ask("install", "tool@1.0")
            assert done.returncode == 0, done.stderr
            yield stage


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    Path("vconnect.toml").write_text("")
    Path("bad.toml").write_text("[plugins]\nwindw = 1\n")


def strict(schema: Any) -> Any:
    """Refuse the keys that a schema does not name."""
    if isinstance(schema, list):
        return [strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(one) for key, one in schema.items()}
    return {**made, "additionalProperties": False} if "properties" in made else made


def check(name: str, value: Any) -> None:
    schema = strict(json.loads((SCHEMAS / f"{name}.json").read_text()))
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)


def values_in(out: str, *, is_lines: bool) -> list[Any]:
    assert out.endswith("\n")
    return [json.loads(line) for line in out.splitlines()] if is_lines else [json.loads(out)]


def check_output(case: Case, out: str) -> None:
    """Check that this is one value, or lines of them, of the right form."""
    command = name_of(case)
    is_lines = command in (("top",), ("tail",)) and not case.error
    for value in values_in(out, is_lines=is_lines):
        if case.error:
            check("error", value)
            assert value["error"]["code"] == case.error
        else:
            check("-".join(command), value)


@pytest.mark.parametrize("topic", CASES)
def test_stdout_is_json_as_published(
    topic: str, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    for case in CASES[topic]:
        code = run(root, stage.arguments(case))
        out, err = capfd.readouterr()
        assert (code, err) == (case.code, case.says), (case, out)
        check_output(case, out)


@pytest.mark.parametrize("topic", CASES)
def test_without_a_host_it_is_an_error(
    topic: str, stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    for case in CASES[topic]:
        asks = has_option(name_of(case), "--admin") and case.error not in ("usage", "config_error")
        if not asks or "info ./" in case.words or case.words == "doctor":
            continue
        assert run(root, stage.arguments(case, NOWHERE)) == 5, case
        out, err = capfd.readouterr()
        assert err == ""
        check_output(case._replace(error="host_unreachable"), out)


@pytest.mark.parametrize("words", list(commands()), ids=" ".join)
def test_wrong_usage_is_an_error_in_json(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(root, [*words, "--no-such-option", "--json"]) == 2
    out, err = capfd.readouterr()
    assert err == ""
    (value,) = values_in(out, is_lines=True)
    check("error", value)
    assert value["error"]["code"] == "usage"


# --- stdout that takes nothing ---------------------------------------------------------------


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def full_disk() -> int:
    return os.open("/dev/full", os.O_WRONLY)


#: What is said on stderr, too.
BROKEN = [
    (closed_pipe, ""),
    pytest.param(
        full_disk,
        "error: cannot write to stdout: No space left on device\n",
        marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full"),
    ),
]


@pytest.mark.parametrize(("broken", "says"), BROKEN)
@pytest.mark.parametrize("topic", CASES)
def test_stdout_that_takes_nothing_is_told_without_a_traceback(
    topic: str,
    broken: Callable[[], int],
    says: str,
    stage: Stage,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    for case in CASES[topic]:
        with open(broken(), "w") as stdout, monkeypatch.context() as patch:  # noqa: PTH123
            patch.setattr(sys, "stdout", stdout)
            assert run(root, stage.arguments(case)) == 1, case
        out, err = capfd.readouterr()
        assert (out, err) == ("", case.says + says), case


# --- what follows ----------------------------------------------------------------------------


def followed(stage: Stage, words: str, stdout: int = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*VCONNECT, *stage.arguments(Case(words))],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
    )


def emit_until_end(stage: Stage, process: subprocess.Popen[str]) -> None:
    """Send events until a process has ended that shows them."""
    while process.poll() is None:
        time.sleep(0.1)
        with open(os.devnull, "w") as nothing, pytest.MonkeyPatch.context() as patch:  # noqa: PTH123
            patch.setattr(sys, "stdout", nothing)
            assert run(root, stage.arguments(Case("emit test.event {payload}"))) == 0


def test_events_are_lines_of_json(stage: Stage) -> None:
    with followed(stage, "tail -n 2") as process:
        emit_until_end(stage, process)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err) == (0, "")
    for value in values_in(out, is_lines=True):
        check("tail", value)


def test_a_log_that_is_followed_is_lines_of_json(stage: Stage) -> None:
    with followed(stage, "logs --all --host -f -n 3") as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        assert run(root, stage.arguments(Case("restart echo"))) == 0
        lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, err.strip()) == (130, "")
    for value in values_in("".join(lines) + out, is_lines=True):
        check("logs", value)


@pytest.mark.parametrize(("broken", "says"), BROKEN)
def test_following_ends_with_a_stdout_that_takes_nothing(
    broken: Callable[[], int], says: str, stage: Stage
) -> None:
    for words in ("tail", "logs --all -f"):
        stdout = broken()
        try:
            with followed(stage, words, stdout) as process:
                emit_until_end(stage, process)
                _, err = process.communicate(timeout=DEADLINE_S)
        finally:
            os.close(stdout)
        assert (process.returncode, err) == (1, says), words


@pytest.mark.slow
def test_a_benchmark_is_one_value(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(root, ["bench", "--quick", "--json"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    (value,) = values_in(out, is_lines=False)
    check("bench", value)
