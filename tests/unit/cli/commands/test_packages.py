"""The commands for packages: what they ask the host, print and return."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.fake_manager import FakeManager, plugin_summary, served_beside

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.operations.changes import Change

Printed = pytest.CaptureFixture[str]


class Host:
    """A host that writes down what it is asked."""

    def __init__(self, manager: FakeManager, path: str) -> None:
        self.manager = manager
        self._path = path

    def vconnect(self, *arguments: str) -> int:
        return run(root, [*arguments, "--admin", self._path])

    def answers(self, *changes: Any) -> None:
        self.manager.packages.answer = list(changes)

    @property
    def asked(self) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        (asked,) = self.manager.packages.asked
        return asked


@pytest.fixture
def host() -> Iterator[Host]:
    plugins = [plugin_summary("chat-a"), plugin_summary("chat-b"), plugin_summary("other")]
    manager = FakeManager(*plugins)
    with served_beside(manager) as path:
        yield Host(manager, str(path))


def change(result: str, **fields: Any) -> Change:
    known = {"name": "example", "action": "install", "before": "1", "after": "2"}
    return Change(**{**known, "result": result, **fields})


def test_paths_are_made_absolute_because_the_host_works_elsewhere(host: Host) -> None:
    assert host.vconnect("install", "x.vp", "https://example.com/y.vp") == 0
    method, (sources,), options = host.asked
    assert method == "install"
    assert sources == [os.path.abspath("x.vp"), "https://example.com/y.vp"]  # noqa: PTH100
    assert (options["upgrade"], options["start"], options["dry_run"]) == (False, True, False)


def test_names_are_for_the_indexes_of_the_host(
    host: Host, capsys: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "example").mkdir()
    assert host.vconnect("install", "example", "chat@^1.2", "other#sha256=" + "ab" * 32) == 0
    _, (sources,), _ = host.asked
    assert sources == ["example", "chat@^1.2", "other#sha256=" + "ab" * 32]
    assert capsys.readouterr().err == (
        "note: example is looked up in the indexes; for the one in this directory, write "
        "./example\n"
    )


def test_a_row_says_what_became_of_a_plugin(host: Host, capsys: Printed) -> None:
    rows = [
        change("switched"),
        change("unchanged", before="2"),
        change("failed", code="conflict", reason="another one is installed"),
    ]
    host.answers(*rows)
    assert host.vconnect("install", "x.vp", "--upgrade") == 7
    out, err = capsys.readouterr()
    assert out == "example 1 → 2 took over\nexample 2 is installed already\n"
    assert err == "example 1 → 2 failed: another one is installed\n"
    assert host.vconnect("install", "x.vp", "--json") == 7
    assert [row["result"] for row in json.loads(capsys.readouterr().out)] == [
        "switched",
        "unchanged",
        "failed",
    ]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["other"], ["other"]),
        (["chat-*"], ["chat-a", "chat-b"]),
        (["--all"], ["chat-a", "chat-b", "other"]),
        (["wk.plugin.other", "chat-a"], ["wk.plugin.other", "chat-a"]),
    ],
)
def test_plugins_are_chosen_by_name_by_pattern_or_all(
    host: Host, arguments: list[str], names: list[str]
) -> None:
    assert host.vconnect("upgrade", *arguments) == 0
    assert host.asked[:2] == ("upgrade", (names,))


@pytest.mark.parametrize(("arguments", "code"), [([], 2), (["--all", "x"], 2), (["nobody-*"], 4)])
def test_who_is_meant_must_be_clear(host: Host, arguments: list[str], code: int) -> None:
    assert host.vconnect("uninstall", *arguments) == code
    assert host.manager.packages.asked == []


def test_a_rollback_names_a_version_or_none(host: Host) -> None:
    host.manager.packages.answer = change("switched", before="2", after="1")
    assert host.vconnect("rollback", "example", "1+e981") == 0
    assert host.asked[1] == ("example", "1+e981")


def test_a_removal_says_what_is_to_go(host: Host) -> None:
    assert host.vconnect("uninstall", "other", "--purge", "--dry-run") == 0
    assert host.asked[2] == {**host.asked[2], "purge": True, "force": False, "dry_run": True}


def test_nothing_to_do_is_said(host: Host, capsys: Printed) -> None:
    assert host.vconnect("rescan") == 0
    assert capsys.readouterr().out == "nothing to do\n"


@pytest.mark.parametrize(("verdict", "code"), [("ok", 0), ("changed", 8), ("unusable", 8)])
def test_what_differs_is_listed(host: Host, verdict: str, code: int, capsys: Printed) -> None:
    found = {
        "name": "example",
        "version": "1",
        "verdict": verdict,
        "reason": "no receipt" if verdict == "unusable" else "",
        "revoked": "" if code else "ABCD, which was revoked",
        "changed": ["a.py"] if code else [],
        "missing": [],
        "extra": [],
    }
    host.answers(found)
    assert host.vconnect("verify") == code
    out = capsys.readouterr().out
    assert out.startswith(f"example 1: {verdict}\n")
    assert ("  changed: a.py" in out) is bool(code)
    assert ("  signed by ABCD, which was revoked" in out) is not bool(code)


def test_the_versions_of_a_plugin_are_a_table(host: Host, capsys: Printed) -> None:
    one = {"version": "1", "digest": "e981" * 16, "states": [], "size": 2048, "source": "/x.vp"}
    host.answers({**one, "installed_at": 0.0}, {**one, "states": ["current"], "installed_at": 9e8})
    assert host.vconnect("list", "--versions", "example") == 0
    _, kept, current = capsys.readouterr().out.splitlines()
    assert kept.split() == ["1", "e981e981e981e981", "kept", "2.0", "kB", "/x.vp"]
    assert "current" in current
    assert "2.0 kB" in current


def test_several_plugins_are_ordered_at_once(host: Host, capsys: Printed) -> None:
    assert host.vconnect("stop", "chat-*", "nobody") == 4
    out, err = capsys.readouterr()
    assert out == "chat-a is Stopped (pid 4242)\nchat-b is Stopped (pid 4242)\n"
    assert err.startswith("nobody: ")
    assert host.vconnect("disable", "--all", "--json") == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [
        "chat-a",
        "chat-b",
        "other",
    ]


def test_a_digest_is_given_for_one_package(host: Host) -> None:
    digest = "ab" * 32
    assert host.vconnect("install", "/x.vp", "--sha256", digest) == 0
    assert host.asked[1] == ([f"/x.vp#sha256={digest}"],)
    assert host.vconnect("install", "/x.vp", "/y.vp", "--sha256", digest) == 2


def test_a_package_that_is_not_the_one_that_was_meant_is_8(host: Host) -> None:
    host.answers(change("failed", code="not_verified", reason="it has another digest"))
    assert host.vconnect("install", "/x.vp", "--frozen") == 8
    assert host.asked[2]["frozen"] is True


NEEDS = {"code": "consent_required", "digest": "ab" * 32, "permissions": ("log", "user.*")}


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 6), ("", 130)])
def test_permissions_are_asked_about_on_a_terminal(
    host: Host, capsys: Printed, monkeypatch: pytest.MonkeyPatch, answer: str, code: int
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal(answer))
    asked: list[Any] = []

    async def install(sources: list[str], **options: Any) -> list[Change]:
        asked.append((sources, options["grant"]))
        refused = change("failed", reason="no", **NEEDS)
        return [refused if options["grant"] is None else change("switched")]

    monkeypatch.setattr(host.manager.packages, "install", install, raising=False)
    assert host.vconnect("install", "/x.vp") == code
    shown = capsys.readouterr().err.splitlines()
    assert shown[:4] == [
        f"example 1 → 2   sha256 {'ab' * 32}",
        "  it asks for these permissions:",
        "    log (write structured log records)",
        "    user.*",
    ]
    if code == 6:
        assert shown[-1].endswith("example 1 → 2 failed: you have not granted what it asks for")
    pinned = (["/x.vp#sha256=" + "ab" * 32], ["log", "user.*"])
    assert asked == [(["/x.vp"], None), *([pinned] if code == 0 else [])]


def test_without_a_terminal_nobody_is_asked(host: Host, capsys: Printed) -> None:
    host.answers(change("failed", reason="it asks for log", **NEEDS))
    assert host.vconnect("install", "/x.vp") == 6
    assert capsys.readouterr().err == "example 1 → 2 failed: it asks for log\n"


@pytest.mark.parametrize(
    ("options", "grant"),
    [((), None), (("--yes",), ["*"]), (("--grant", "log, a.b,"), ["log", "a.b"])],
)
def test_permissions_are_granted_by_options(host: Host, options: Any, grant: Any) -> None:
    assert host.vconnect("upgrade", "example", *options) == 0
    assert host.asked[2]["grant"] == grant


def test_wrong_options_are_told(host: Host, capsys: Printed) -> None:
    assert host.vconnect("install", "/x.vp", "--yes", "--grant", "log") == 2
    assert host.vconnect("install", "/x.vp", "--sha256", "0000") == 2
    assert "'0000' is no sha256; expected 64 hex digits" in capsys.readouterr().err


def test_a_relative_file_uri_is_made_absolute_too(host: Host) -> None:
    assert host.vconnect("install", "file://./x.vp", "file:///y.vp") == 0
    assert host.asked[1][0] == [f"file://{os.path.abspath('x.vp')}", "file:///y.vp"]  # noqa: PTH100


@pytest.mark.parametrize("command", [["install", "x.vp"], ["upgrade", "chat-a"]])
@pytest.mark.parametrize(("kind", "follows"), [("json", True), ("bar", True), ("none", False)])
def test_progress_is_asked_for_only_if_it_is_shown(
    host: Host, capsys: Printed, command: list[str], kind: str, follows: bool
) -> None:
    host.answers(change("switched"))
    assert host.vconnect(*command, "--progress", kind, "--json") == 0
    assert ("report" in host.asked[2]) is follows
    out, err = capsys.readouterr()
    assert [row["result"] for row in json.loads(out)] == ["switched"], "one value, as ever"
    assert err == ""


def test_without_a_terminal_nothing_is_shown(host: Host) -> None:
    assert host.vconnect("install", "x.vp") == 0
    assert "report" not in host.asked[2]
    assert host.vconnect("install", "x.vp", "--progress", "much") == 2
