"""The commands about indexes: what they write, ask the host, print and return."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.fake_manager import FakeManager, served_beside
from tests.support.index_kit import put, read, sign

from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.errors import UnknownPluginError
from vconnect.index.client import Hits
from vconnect.operations.queries import PluginInfo
from vconnect.trust.files import read_public, read_signature
from vconnect.trust.signing import generate, verify

pytest.importorskip("cryptography")
pytestmark = pytest.mark.usefixtures("clean_surroundings")

Printed = pytest.CaptureFixture[str]


def vconnect(*arguments: str) -> int:
    return run(root, arguments)


@pytest.fixture
def site() -> Path:
    put(Path("site"), "1.0.0")
    return Path("site")


def test_an_index_is_made(site: Path, capsys: Printed) -> None:
    assert vconnect("index", "build", "site", "--name", "mine", "--expires", "30") == 0
    assert capsys.readouterr().out == "wrote site/index.json: serial 1, 1 plugin, 1 file\n"
    index = read(site)
    assert index.name == "mine"
    assert index.expires is not None
    assert timedelta(days=29) < index.expires - datetime.now(UTC) <= timedelta(days=30)
    assert vconnect("index", "build", "site") == 0
    assert capsys.readouterr().out.startswith("unchanged: ")
    assert vconnect("index", "build", "site", "--expires", "0", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["serial"], told["changed"], told["faults"]) == (2, True, [])
    assert read(site).expires is None


def test_what_is_wrong_with_a_package_is_told(site: Path, capsys: Printed) -> None:
    (site / "bad.vp").write_bytes(b"x")
    assert vconnect("index", "build", "site") == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("site/bad.vp: ")
    assert printed.err.endswith("1 fault; site/index.json was not changed\n")
    assert vconnect("index", "build", "site", "--json") == 1
    (fault,) = json.loads(capsys.readouterr().out)["faults"]
    assert fault["place"] == "site/bad.vp"
    assert not (site / "index.json").exists()


def test_other_bytes_need_a_word(site: Path, capsys: Printed) -> None:
    assert vconnect("index", "build", "site") == 0
    put(site, "1.0.0", mark="x")
    assert vconnect("index", "build", "site") == 1
    assert "insist with --replace" in capsys.readouterr().err
    assert vconnect("index", "build", "site", "--replace") == 0


def test_it_is_signed_and_what_the_same_key_has_signed_is_good(site: Path) -> None:
    assert vconnect("keygen", "ann", "--no-password") == 0
    assert vconnect("sign", "site/example-1.0.0.vp", "--key", "ann.key") == 0
    assert vconnect("index", "build", "site", "--sign", "ann.key") == 0
    signature = read_signature(site / "index.json.minisig")
    with (site / "index.json").open("rb") as file:
        verify(file, signature, read_public(Path("ann.pub")))
    assert "file=index.json" in signature.trusted_comment
    # It stays as long as it is good, and of this key.
    first = (site / "index.json.minisig").read_bytes()
    assert vconnect("index", "build", "site", "--sign", "ann.key") == 0
    assert (site / "index.json.minisig").read_bytes() == first
    assert vconnect("trust", "ann.pub", "--file", "vconnect.trust") == 0
    Path("vconnect.toml").write_text("[plugins]\n")
    assert vconnect("keygen", "bob", "--no-password") == 0
    assert vconnect("index", "build", "site", "--sign", "bob.key") == 0
    assert read_signature(site / "index.json.minisig").id == read_public(Path("bob.pub")).id
    (site / "index.json.minisig").write_text("no signature")
    assert vconnect("index", "build", "site", "--sign", "bob.key") == 0
    assert read_signature(site / "index.json.minisig").id == read_public(Path("bob.pub")).id


def test_a_signature_of_somebody_unknown_is_a_fault_where_keys_are_known(
    site: Path, capsys: Printed
) -> None:
    key = generate()
    sign(site / "example-1.0.0.vp", key)
    assert vconnect("index", "build", "site") == 0
    assert "the signature of site/example-1.0.0.vp was not verified" in capsys.readouterr().err
    assert vconnect("keygen", "ann", "--no-password") == 0
    Path("vconnect.toml").write_text("[plugins]\n")
    assert vconnect("trust", "ann.pub") == 0
    assert vconnect("index", "build", "site") == 1
    assert "which the trust file does not have" in capsys.readouterr().err


def test_a_version_is_withdrawn_and_offered_again(site: Path, capsys: Printed) -> None:
    assert vconnect("index", "build", "site") == 0
    assert vconnect("index", "yank", "site", "example", "1.0.0", "--reason", "loses data") == 0
    assert read(site).plugin("example").versions[0].yanked == "loses data"
    assert vconnect("index", "yank", "site", "example", "1.0.0", "--undo", "--json") == 0
    assert read(site).plugin("example").versions[0].yanked is None
    capsys.readouterr()
    assert vconnect("index", "yank", "site", "example", "2", "--reason", "x") == 1
    assert capsys.readouterr().err == ("error: example has no version 2; there are: 1.0.0\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("index", "build", "none"),
        ("index", "build", "site", "--expires", "-1"),
        ("index", "build", "site", "--password-file", "-"),
        ("index", "yank", "site", "example", "1.0.0"),
        ("index", "yank", "site", "example", "1.0.0", "--reason", ""),
        ("index", "yank", "site", "example", "1.0.0", "--reason", "x", "--undo"),
        ("info", "./example"),
        ("info", "a b"),
    ],
)
@pytest.mark.usefixtures("site")
def test_wrong_usage(arguments: tuple[str, ...]) -> None:
    assert vconnect(*arguments) == 2


def test_a_package_is_shown_without_a_host(site: Path, capsys: Printed) -> None:
    path = str(site / "example-1.0.0.vp")
    assert vconnect("info", path) == 0
    assert capsys.readouterr().out.startswith("name              example\n")
    assert vconnect("info", path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["name"], told["version"], told["platform"]) == ("example", "1.0.0", "any")
    assert [one["path"] for one in told["files"]] == ["plugin.json", "run"]
    assert vconnect("info", "none.vp") == 1
    Path(f"{path}.minisig").write_text("no signature")
    assert vconnect("info", path) == 8


def test_the_host_is_asked_for_a_name_and_a_word(capsys: Printed) -> None:
    manager = FakeManager()
    with served_beside(manager) as path:
        manager.packages.answer = Hits()
        assert vconnect("search", "--admin", str(path)) == 0
        assert vconnect("search", "hello", "--admin", str(path), "--json") == 0
        manager.packages.answer = PluginInfo(name="example", index="")
        assert vconnect("info", "example@^1", "--admin", str(path)) == 0
    assert manager.packages.asked == [
        ("search", ("",), {}),
        ("search", ("hello",), {}),
        ("info", ("example@^1",), {}),
    ]
    assert capsys.readouterr().out.startswith("no plugin was found\n{")


def test_without_a_host(capsys: Printed) -> None:
    assert vconnect("search", "--admin", "/none") == 5
    assert vconnect("info", "example", "--admin", "/none") == 5
    assert "start one with: vconnect serve" in capsys.readouterr().err


def test_a_plugin_that_nobody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    manager = FakeManager()

    async def info(_: str) -> PluginInfo:
        raise UnknownPluginError("nobody", "no index has it")

    monkeypatch.setattr(manager.packages, "info", info, raising=False)
    with served_beside(manager) as path:
        assert vconnect("info", "nobody", "--admin", str(path)) == 4
