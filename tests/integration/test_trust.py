"""A running host and signed packages: policies, a changed byte, rotation, revocation."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from tests.support.lab import ECHO, Lab

from vconnect import PluginRuntimeManager
from vconnect.cli.boundary import run
from vconnect.cli.root import root
from vconnect.operations.changes import Change
from vconnect.packages.pack import pack
from vconnect.store.lock_file import LockFile

pytest.importorskip("cryptography")

needs_minisign = pytest.mark.skipif(shutil.which("minisign") is None, reason="needs minisign")


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def vconnect(*arguments: str) -> None:
    assert run(root, arguments) == 0


class Shop:
    """Packages in a directory, and the files that lie beside a configuration."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.directory = lab.directory / "shop"
        self.directory.mkdir()
        self.trust = lab.directory / "vconnect.trust"
        self.lock = lab.directory / "vconnect.lock"

    def package(self, version: str, name: str = "one") -> Path:
        code = f"VERSION = {version!r}\nserve(version=VERSION)"
        source = self.lab.source(name, code, below=f"source-{version}", version=version)
        return pack(source, self.directory / f"{name}-{version}.vp").path

    def key(self, name: str) -> Path:
        base = self.directory / name
        vconnect("keygen", str(base), "--no-password")
        return base.with_suffix(".key")

    def sign(self, package: Path, key: Path) -> Path:
        vconnect("sign", str(package), "--key", str(key))
        return package

    def trusts(self, key: Path, *options: str) -> None:
        vconnect("trust", str(key.with_suffix(".pub")), "--file", str(self.trust), *options)

    def id_of(self, key: Path) -> str:
        from vconnect.trust.files import read_public

        return read_public(key.with_suffix(".pub")).id

    def manager(self, **options: Any) -> Any:
        return self.lab.manager(lock_file=self.lock, trust_file=self.trust, **options)


@pytest.fixture
def shop(lab: Lab) -> Shop:
    return Shop(lab)


async def install(runtime: PluginRuntimeManager, package: Path | str) -> Change:
    (change,) = await runtime.packages.install([str(package)], upgrade=True)
    return change


async def test_a_package_changed_by_one_byte_is_refused_while_the_old_version_serves(
    shop: Shop,
) -> None:
    ann = shop.key("ann")
    shop.trusts(ann)
    async with shop.manager(require_signature=True) as runtime:
        await runtime.start_all()
        assert (await install(runtime, shop.sign(shop.package("1"), ann))).result == "installed"
        assert LockFile(shop.lock).entries()["one"].signer == shop.id_of(ann)
        later = shop.sign(shop.package("2"), ann)
        content = bytearray(later.read_bytes())
        content[-1] ^= 1
        later.write_bytes(content)
        refused = await install(runtime, later)
        assert (refused.result, refused.code) == ("failed", "not_verified")
        assert runtime.summary("one").version == "1"
        assert [one.version for one in await runtime.packages.versions("one")] == ["1"]
        content[-1] ^= 1
        later.write_bytes(content)
        assert (await install(runtime, later)).result == "switched"


async def test_the_policy_is_by_source_and_globally(shop: Shop) -> None:
    strict = {str(shop.directory): {"require_signature": True}}
    async with shop.manager(sources=strict) as runtime:
        assert (await install(runtime, shop.package("1"))).code == "not_verified"
        elsewhere = shutil.copy(shop.package("1"), shop.lab.directory / "one.vp")
        assert (await install(runtime, elsewhere)).result == "installed"


async def test_a_signer_that_is_locked_is_asked_for_again(shop: Shop) -> None:
    ann, bob = shop.key("ann"), shop.key("bob")
    for key in (ann, bob):
        shop.trusts(key)
    async with shop.manager() as runtime:
        assert (await install(runtime, shop.sign(shop.package("1"), ann))).result == "installed"
        assert (await install(runtime, shop.package("2"))).code == "not_verified"
        assert (await install(runtime, shop.sign(shop.package("3"), bob))).code == "not_verified"
        public = bob.with_suffix(".pub")
        vconnect("sign", str(public), "--key", str(ann))
        shop.trusts(bob, "--succeeds", shop.id_of(ann))
        change = await install(runtime, shop.package("3"))
        assert (change.result, change.after) == ("switched", "3")
        assert LockFile(shop.lock).entries()["one"].signer == shop.id_of(bob)


async def test_nobody_goes_back_to_what_a_revoked_key_has_signed(shop: Shop) -> None:
    ann, bob = shop.key("ann"), shop.key("bob")
    shop.trusts(ann)
    async with shop.manager() as runtime:
        await install(runtime, shop.sign(shop.package("1"), ann))
        vconnect("sign", str(bob.with_suffix(".pub")), "--key", str(ann))
        shop.trusts(bob, "--succeeds", shop.id_of(ann))
        assert (await install(runtime, shop.sign(shop.package("2"), bob))).result == "switched"
        vconnect("untrust", shop.id_of(ann), "--revoke", "--file", str(shop.trust))
        for dry_run in (True, False):
            refused = await runtime.packages.rollback("one", dry_run=dry_run)
            assert refused.code == "not_verified"
            assert "1 is signed by" in refused.reason
        found = {one.version: one for one in await runtime.packages.verify()}
        assert "which was revoked on" in found["1"].revoked
        assert (found["2"].signer, found["2"].revoked) == (shop.id_of(bob), "")
        assert runtime.summary("one").status == "Running"


@pytest.mark.parametrize("on_revoked", ["serve", "hold"])
async def test_a_revoked_key_signs_nothing_new(shop: Shop, caplog, on_revoked: str) -> None:
    ann = shop.key("ann")
    shop.trusts(ann)
    async with shop.manager(on_revoked=on_revoked, crash_hold=60.0) as runtime:
        await install(runtime, shop.sign(shop.package("1"), ann))
        vconnect("untrust", shop.id_of(ann), "--revoke", "--reason", "x", "--file", str(shop.trust))
        refused = await install(runtime, shop.sign(shop.package("2"), ann))
        assert refused.code == "not_verified"
        assert "was revoked" in refused.reason
        assert runtime.summary("one").status == "Running"
    async with shop.manager(on_revoked=on_revoked, crash_hold=60.0) as runtime:
        await runtime.start_all()
        status = runtime.summary("one").status
        assert status == ("Running" if on_revoked == "serve" else "Error")
    assert "which was revoked" in caplog.text


async def test_a_trust_file_that_cannot_be_used_stops_installations_only(shop: Shop) -> None:
    async with shop.manager() as runtime:
        await install(runtime, shop.package("1"))
        shop.trust.write_text("format = 99\n")
        assert (await install(runtime, shop.package("2"))).code == "config_error"
        await runtime.restart_plugin("one")
        assert runtime.summary("one").status == "Running"


async def test_a_signature_is_fetched_beside_the_package(shop: Shop) -> None:
    ann = shop.key("ann")
    shop.trusts(ann)
    shop.sign(shop.package("1"), ann)
    shop.package("2")
    handler = partial(QuietHandler, directory=str(shop.directory))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        address = f"http://127.0.0.1:{server.server_port}"
        async with shop.manager(require_signature=True) as runtime:
            assert (await install(runtime, f"{address}/one-1.vp")).result == "installed"
            refused = await install(runtime, f"{address}/one-2.vp")
            assert "it has no signature" in refused.reason
            assert "404" in refused.reason
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@needs_minisign
async def test_signatures_of_minisign_itself_count_for_a_named_plugin(shop: Shop) -> None:
    key, public = shop.directory / "m.key", shop.directory / "m.pub"
    call: Callable[..., Any] = partial(subprocess.run, check=True, capture_output=True, timeout=50)
    call(["minisign", "-G", "-W", "-p", public, "-s", key])
    package = shop.package("1")
    call(["minisign", "-S", "-s", key, "-m", package])
    async with shop.manager(require_signature=True) as runtime:
        shop.trusts(key)
        assert "does not say that it is of one" in (await install(runtime, package)).reason
        shop.trusts(key, "--for", "one")
        assert (await install(runtime, package)).result == "installed"


async def test_a_start_that_verifies_holds_only_what_differs(lab: Lab, shop: Shop) -> None:
    async with lab.manager() as runtime:
        for name in ("one", "two"):
            await install(runtime, shop.package("1", name))
    (program,) = lab.plugins.glob("one/versions/*/pkg/one")
    program.chmod(0o755)
    program.write_text(program.read_text() + "\n# changed")
    async with lab.manager(verify_at_start=True) as runtime:
        await runtime.start_all()
        one, two = runtime.summary("one"), runtime.summary("two")
        assert (one.status, one.substate, two.status) == ("Error", "changed", "Running")
        assert "changed: one" in one.reason
        await runtime.start_plugin("one")
        assert runtime.summary("one").status == "Running"


async def test_what_sources_have_now(lab: Lab, shop: Shop) -> None:
    lab.plugin("plain", ECHO)
    async with lab.manager() as runtime:
        await runtime.start_all()
        first = shop.package("1")
        await install(runtime, first)
        assert [(one.name, one.state) for one in await runtime.packages.outdated()] == [
            ("one", "current"),
            ("plain", "unknown"),
        ]
        shutil.copy(shop.package("2"), first)
        (found,) = await runtime.packages.outdated(["one"])
        assert (found.current, found.available, found.state) == ("1", "2", "outdated")
        assert [one.version for one in await runtime.packages.versions("one")] == ["1"]
