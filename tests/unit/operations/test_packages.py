"""Which version, and in which order; the changes themselves are in ``tests/integration``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.download_kit import PACKAGE, answer, running_server
from tests.support.package_kit import write_package
from tests.support.paper import catalog

from vconnect.errors import PluginStartError
from vconnect.operations.packages import Packages
from vconnect.packages.progress import Step
from vconnect.plugins.registry import Registry
from vconnect.store.installer import PluginInstaller
from vconnect.store.store import PluginStore


class Orders:
    """Writes down what is ordered. What is restarted does not change its version."""

    def __init__(self) -> None:
        self.given: list[tuple[str, str]] = []
        self.refusal: PluginStartError | None = None

    async def start_plugin(self, name: str) -> None:
        self.given.append(("start", name))
        if self.refusal is not None:
            raise self.refusal

    async def restart_plugin(self, name: str) -> None:
        self.given.append(("restart", name))
        if self.refusal is not None:
            raise self.refusal

    async def stop_plugin(self, name: str) -> bool:
        self.given.append(("stop", name))
        return True

    def is_disabled(self, name: str) -> bool:
        return False


class Ground:
    """Packages of a host that has no processes."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.orders = Orders()
        self.registry = registry = Registry()
        self.catalog = catalog(registry, directory / "plugins")
        store = PluginStore(directory / "plugins")
        self.packages = Packages(self.orders, self.catalog, registry, store, directory / "state")

    def package(self, version: str, name: str = "example", **fields: Any) -> str:
        path = self.directory / f"{name}-{version}.vp"
        return str(write_package(path, name="example", version=version, **fields))


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


async def test_a_first_version_is_started_unless_it_is_not_to_be(ground: Ground) -> None:
    package = ground.package("1")
    (made,) = await ground.packages.install([package], start=False)
    assert (made.result, ground.orders.given) == ("installed", [])
    (again,) = await ground.packages.install([package])
    assert (again.result, ground.orders.given) == ("unchanged", [])


async def test_a_version_that_waits_is_told(ground: Ground) -> None:
    await ground.packages.install([ground.package("1")], start=False)
    (made,) = await ground.packages.install([ground.package("2")], upgrade=True, start=False)
    assert (made.before, made.after, made.result) == ("1", "2", "waiting")
    states = {one.version: one.states for one in await ground.packages.versions("example")}
    assert states == {"1": ("current",), "2": ("next",)}


@pytest.mark.parametrize("wanted", ["2", "digest", "directory"])
async def test_a_version_is_named_in_three_ways(ground: Ground, wanted: str) -> None:
    await ground.packages.install([ground.package("1")], start=False)
    await ground.packages.install([ground.package("2")], upgrade=True, start=False)
    (other,) = [
        one for one in await ground.packages.versions("example") if "current" not in one.states
    ]
    names = {
        "2": "2",
        "digest": other.digest[:10],
        "directory": f"2+{other.digest[:16]}",
    }
    made = await ground.packages.rollback("example", names[wanted], dry_run=True)
    assert (made.after, made.digest, made.result) == ("2", other.digest, "planned")


@pytest.mark.parametrize("version", ["9", "e9", ""])
async def test_one_that_is_not_there_is_refused(ground: Ground, version: str) -> None:
    await ground.packages.install([ground.package("1")], start=False)
    made = await ground.packages.rollback("example", version)
    assert made.result == "failed"
    words = f"no other version {version}" if version else "no earlier version"
    assert words in made.reason


async def test_the_current_one_is_no_change(ground: Ground) -> None:
    await ground.packages.install([ground.package("1")], start=False)
    made = await ground.packages.rollback("example", "1")
    assert (made.result, ground.orders.given) == ("unchanged", [])


async def test_one_text_is_not_several_names(ground: Ground) -> None:
    for use in (ground.packages.install, ground.packages.upgrade, ground.packages.uninstall):
        with pytest.raises(TypeError, match="several names"):
            await use("example")
    assert ground.orders.given == []


async def test_credentials_of_a_source_are_nowhere(
    ground: Ground, caplog: pytest.LogCaptureFixture
) -> None:
    (made,) = await ground.packages.install(["ftp://ann:secret@example.com/x.vp?key=TOPSECRET"])
    assert made.result == "failed"
    for text in (*caplog.messages, made.name, made.reason):
        assert "secret" not in text.lower()


async def test_two_packages_of_one_version_need_a_digest(ground: Ground) -> None:
    for name, note in (("a", "x"), ("b", "y"), ("c", "z")):
        package = ground.package("1", name, description=note)
        await ground.packages.install([package], upgrade=True, start=False)
    made = await ground.packages.rollback("example", "1")
    assert "example 1 may be 1+" in made.reason


async def test_dependencies_come_first(ground: Ground) -> None:
    requires = {"chat": ["users"], "users": ["store"], "store": []}
    for name, others in requires.items():
        path = ground.directory / f"{name}.vp"
        package = write_package(path, name=name, entry="example", requires=others)
        await ground.packages.install([str(package)], start=False)
    order = ground.registry.dependencies_first(["chat", "nobody", "store", "users", "chat"])
    assert order == ["store", "users", "chat", "nobody"]


async def test_one_whose_source_is_unknown_says_what_to_do(ground: Ground) -> None:
    plain = ground.directory / "plugins" / "plain"
    plain.mkdir(parents=True)
    (plain / "plain").write_text("#!/bin/sh\n")
    (plain / "plain").chmod(0o755)
    await ground.catalog.discover()
    (made,) = await ground.packages.upgrade(["plain"])
    assert made.reason == ("plain is not from a package; use: vconnect install SOURCE --upgrade")


async def test_a_source_that_is_gone_is_a_row(ground: Ground) -> None:
    package = ground.package("1")
    await ground.packages.install([package], start=False)
    Path(package).unlink()
    (made,) = await ground.packages.upgrade(["example"])
    assert (made.result, made.code) == ("failed", "install_error")
    installed = PluginInstaller(ground.directory / "plugins").discover()
    assert [one.name for one in installed] == ["example"]


async def test_downloads_are_reported_to_whoever_asks_for_it(ground: Ground) -> None:
    steps: list[Step] = []
    async with running_server() as server:
        server.answers = [answer()]
        source = f"{server.base}/a.vp"
        (change,) = await ground.packages.install([source], report=steps.append)
        assert change.result == "installed"
        (change,) = await ground.packages.upgrade(["example"], report=steps.append)
        assert change.result == "unchanged"
    # By the size of what the kit sends, one chunk each.
    assert [(one.source, one.bytes, one.total) for one in steps] == [
        (source, len(PACKAGE), len(PACKAGE))
    ] * 2
