"""What a plugin inherits: an allowlist, then what is given."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from vconnect.processes.environment import INHERITED, INHERITED_BY_DEV, plugin_environment

PYTHON = str(Path(sys.executable).parent)
HOST = {
    "HOME": "/home/ada",
    "LANG": "C.UTF-8",
    "PATH": "/usr/bin:/bin",
    "CARGO_HOME": "/cargo",
    "AWS_SECRET_ACCESS_KEY": "hunter2",
    "LD_PRELOAD": "/tmp/evil.so",
    "PYTHONPATH": "/host",
    "VCONNECT_ADMIN_PATH": "/run/admin.sock",
}


def environment(
    extra: dict[str, str] | None = None,
    *,
    host: dict[str, str] = HOST,
    inherit: tuple[str, ...] = (),
    dev: bool = False,
) -> dict[str, str]:
    return plugin_environment(host, extra or {}, inherit=inherit, dev=dev)


def test_nothing_but_the_allowlist_is_inherited() -> None:
    assert environment() == {
        "HOME": "/home/ada",
        "LANG": "C.UTF-8",
        "PATH": f"{PYTHON}:/usr/bin:/bin",
        "PYTHONUNBUFFERED": "1",
    }


def test_no_name_of_the_allowlist_is_a_secret_or_loads_code() -> None:
    for name in (*INHERITED, *INHERITED_BY_DEV):
        assert not any(word in name for word in ("TOKEN", "SECRET", "PASSWORD", "PRELOAD"))
    assert "PYTHONPATH" not in INHERITED


def test_a_plugin_from_source_gets_what_compilers_need() -> None:
    assert environment(dev=True)["CARGO_HOME"] == "/cargo"
    assert "CARGO_HOME" not in environment()


def test_the_operator_adds_names() -> None:
    found = environment(inherit=("AWS_SECRET_ACCESS_KEY", "NOT_SET"))
    assert found["AWS_SECRET_ACCESS_KEY"] == "hunter2"
    assert "NOT_SET" not in found
    assert environment(inherit=("*", "AWS_*")) == environment()


def test_what_is_given_wins_over_all_else() -> None:
    given = {"HOME": "/plugin", "PATH": "/only", "PYTHONUNBUFFERED": "", "NEW": "1"}
    assert environment(given, inherit=("HOME",)) == {**given, "LANG": "C.UTF-8"}


def test_an_inherited_path_still_begins_with_our_python() -> None:
    assert environment(inherit=("PATH", "PYTHONUNBUFFERED"))["PATH"] == f"{PYTHON}:/usr/bin:/bin"


def test_without_a_path_the_systems_default_is_there() -> None:
    assert environment(host={})["PATH"] == f"{PYTHON}{os.pathsep}{os.defpath}"


def test_an_empty_value_is_a_value() -> None:
    assert environment(host={"LC_ALL": ""})["LC_ALL"] == ""


@pytest.mark.parametrize("dev", [False, True])
def test_what_is_handed_in_stays_as_it_was(dev: bool) -> None:
    host, extra = dict(HOST), {"A": "1"}
    environment(extra, host=host, dev=dev)["A"] = "changed"
    assert (host, extra) == (HOST, {"A": "1"})
