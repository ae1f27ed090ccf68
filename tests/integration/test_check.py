"""``vconnect pack`` and ``vconnect check`` as commands of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ELSEWHERE = ({"TZ": "UTC", "LC_ALL": "C"}, {"TZ": "Asia/Tokyo", "PYTHONHASHSEED": "7"})


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def vconnect(*arguments: str, umask: int = 0o022, **environ: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "vconnect", *arguments],
        env=os.environ | environ,
        umask=umask,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    return done.returncode, done.stdout


def test_from_a_project_to_a_package_and_back() -> None:
    assert vconnect("new", "demo")[0] == 0
    assert vconnect("check", "demo")[0] == 0
    digests = set()
    for number, environ in enumerate(ELSEWHERE):
        os.utime("demo/plugin.py", (number, number))
        code, out = vconnect("pack", "demo", "--json", umask=number * 0o077, **environ)
        assert code == 0
        made = json.loads(out)
        digests.add((made["sha256"], made["tree"]))
    assert len(digests) == 1
    if shutil.which("sha256sum"):
        subprocess.run(["sha256sum", "--quiet", "-c", "demo-0.1.0.vp.sha256"], check=True)
    code, out = vconnect("check", "demo-0.1.0.vp")
    assert (code, out.splitlines()[-1]) == (0, "no faults")


def test_a_damaged_package_and_a_wrong_configuration() -> None:
    Path("a.vp").write_bytes(b"\x1f\x8b" + bytes(100))
    assert vconnect("check", "a.vp")[0] == 1
    Path("vconnect.toml").write_text("[plugins]\nwindow = 0\ninstall = ['none.vp']\n")
    code, out = vconnect("check", "vconnect.toml", "--json")
    assert code == 2
    assert [one["place"] for one in json.loads(out)] == [
        "vconnect.toml: plugins.window",
        "vconnect.toml: plugins.install",
    ]
    assert not Path("plugins").exists()
