"""The lock file of a plugin's dependencies."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from vconnect.environments.declared import Declared
from vconnect.environments.locked import LOCK, check_lock, parse_lock, read_lock, write_lock
from vconnect.errors import InstallError

DECLARED = Declared(origin="requirements.txt", requirements=("a",))
HASH = "--hash=sha256:" + "0" * 64
HEAD = write_lock(DECLARED, "")


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    resolved = f"# by a tool\na==1.0 \\\n    {HASH} \\\n    {HASH}\n    # via x\nB_c==2 {HASH}\n"
    (tmp_path / LOCK).parent.mkdir()
    (tmp_path / LOCK).write_text(write_lock(DECLARED, resolved))
    lock = read_lock(tmp_path)
    assert lock is not None
    assert lock.versions == {"a": "1.0", "b-c": "2"}
    check_lock(DECLARED, lock)
    other = Declared(origin="requirements.txt", requirements=("a", "b"))
    with pytest.raises(InstallError, match=r"other dependencies than requirements\.txt"):
        check_lock(other, lock)


def test_conditions_may_follow_a_version() -> None:
    text = HEAD + f"a==1.0 ; python_full_version >= '3.11' {HASH}\n"
    assert parse_lock(text).versions == {"a": "1.0"}


def test_none_is_none(tmp_path: Path) -> None:
    assert read_lock(tmp_path) is None
    (tmp_path / "_vconnect").touch()
    assert read_lock(tmp_path) is None


@pytest.mark.parametrize(
    "line",
    [
        "a==1.0",  # without a hash
        f"a>=1.0 {HASH}",
        f"a @ https://x/ {HASH}",
        "--index-url https://x/",
        "-r /etc/passwd",
        f"a==1.0 --hash=md5:{'0' * 32}",
        f"a==1.0 --install-option=x {HASH}",
        f"./a==1.0 {HASH}",
        f"a==1.0 ; x --index-url https://x/ {HASH}",
        f"a==1.0 -e . {HASH}",
        f"a==1.0 {HASH} -e .",
        f"a==1.0 {HASH}0",
        f"a==1.0 \\\n  --index-url=https://x/ \\\n  {HASH}",
    ],
)
def test_only_pinned_versions_with_hashes_may_be_in_it(line: str) -> None:
    with pytest.raises(InstallError, match="expected NAME==VERSION"):
        parse_lock(f"{HEAD}{line}\n")


@pytest.mark.parametrize(
    "body", [" " * 2_000_000, f"a==1.0 {HASH * 20_000} x", " \\\n" * 300_000, "a" * 3_000_000]
)
def test_whatever_is_in_it_is_read_at_once(body: str) -> None:
    with suppress(InstallError):
        parse_lock(HEAD + body)


@pytest.mark.parametrize("text", ["", f"a==1.0 {HASH}\n", "# vconnect requirements 2 ab\n"])
def test_a_file_of_another_tool_is_refused(text: str) -> None:
    with pytest.raises(InstallError, match="was not written by"):
        parse_lock(text)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / LOCK).mkdir(parents=True)
    with pytest.raises(InstallError, match="cannot be read"):
        read_lock(tmp_path)
    (tmp_path / LOCK).rmdir()
    (tmp_path / LOCK).write_bytes(b"\xff")
    with pytest.raises(InstallError, match="not UTF-8"):
        read_lock(tmp_path)
