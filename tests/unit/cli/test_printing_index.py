"""What people read about indexes and packages."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.support.index_kit import put

from vconnect.cli.printing_index import print_built, print_hits, print_info, print_package
from vconnect.index.build import Built
from vconnect.index.client import Hit, Hits
from vconnect.index.document import IndexedFile, IndexedVersion
from vconnect.index.package import describe_package
from vconnect.operations.queries import PluginInfo
from vconnect.operations.versions import VersionSummary
from vconnect.validation import Fault

Printed = pytest.CaptureFixture[str]
ESC = "\x1b[31m"


def lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_an_index_that_was_made(capsys: Printed) -> None:
    built = Built(index="site/index.json", serial=2, changed=True, plugins=1, files=2)
    print_built(built)
    print_built(msgspec.structs.replace(built, changed=False, unverified=(f"a{ESC}.vp",)))
    printed = capsys.readouterr()
    assert lines(printed.out) == [
        "wrote site/index.json: serial 2, 1 plugin, 2 files",
        "unchanged: site/index.json: serial 2, 1 plugin, 2 files",
    ]
    assert printed.err == "note: the signature of a\\x1b[31m.vp was not verified\n"


def test_an_index_that_was_not_made(capsys: Printed) -> None:
    print_built(Built(index="site/index.json", faults=(Fault("a.vp", f"is bad{ESC}"),)))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert lines(printed.err) == [
        "a.vp: is bad\\x1b[31m",
        "1 fault; site/index.json was not changed",
    ]


def test_what_a_search_has_found(capsys: Printed) -> None:
    hit = Hit(name="example", version="1", description=f"hello{ESC}", index="https://h/index.json")
    print_hits(msgspec.to_builtins(Hits(plugins=(hit,), total=3, notes=(f"old{ESC}",))))
    print_hits(msgspec.to_builtins(Hits()))
    printed = capsys.readouterr()
    assert lines(printed.out) == [
        "plugin version description index",
        "example 1 hello\\x1b[31m https://h/index.json",
        "… of 3; another word finds fewer",
        "no plugin was found",
    ]
    assert printed.err == "note: old\\x1b[31m\n"


def test_what_is_known_of_a_plugin(capsys: Printed) -> None:
    file = IndexedFile(url="a.vp", size=1200, sha256="ab" * 32)
    versions = (
        IndexedVersion(
            version="2",
            yanked=f"bad{ESC}",
            min_host_version="0.5",
            permissions=("log",),
            files=(file,),
        ),
        IndexedVersion(version="1", files=(file,)),
    )
    installed = VersionSummary(
        version="1", digest="cd" * 32, states=("current",), size=1, source="/x", installed_at=0
    )
    info = PluginInfo(
        name="example",
        index="https://h/index.json",
        aliases=("other",),
        description=f"hello{ESC}",
        versions=versions,
        installed=(installed,),
        notes=("known",),
    )
    print_info(msgspec.to_builtins(info))
    printed = capsys.readouterr()
    assert lines(printed.out) == [
        "example: hello\\x1b[31m",
        "also called: other",
        "index: https://h/index.json",
        "version platform size sha256 asks for remarks",
        "2 any 1.2 kB abababababababab log withdrawn: bad\\x1b[31m; vconnect 0.5",
        "1 any 1.2 kB abababababababab",
        "installed:",
        "version digest state size installed source",
        "1 cdcdcdcdcdcdcdcd current 1 B /x",
    ]
    assert printed.err == "note: known\n"
    print_info(msgspec.to_builtins(PluginInfo(name="example", index="")))
    assert capsys.readouterr().out == "example\n"


def test_what_a_package_is(tmp_path: Path, capsys: Printed) -> None:
    path = put(tmp_path, "1", description=f"hello{ESC}", permissions=["log", "plugin.call"])
    print_package(describe_package(path))
    printed = lines(capsys.readouterr().out)
    assert printed[:4] == [
        "name example",
        "version 1",
        "description hello\\x1b[31m",
        "platform any",
    ]
    assert "permissions log, plugin.call" in printed
    assert "signature none" in printed
    assert printed[-3] == "2 files:"
    assert printed[-1] == "17 B run"
