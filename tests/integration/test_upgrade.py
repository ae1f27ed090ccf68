"""An upgrade by package, under load, of a plugin that reads and writes its own files."""

from __future__ import annotations

import asyncio
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from tests.support.lab import Lab, until

from vconnect import PluginRuntimeManager
from vconnect.errors import PluginStartError
from vconnect.packages.pack import pack

RATE = 1000  # events per second

CLASSIC = """
Path = __import__("pathlib").Path
package = Path(os.environ["VCONNECT_PACKAGE_DIR"])
def answer(event):
    words = (package / "words").read_text()
    with open("rows", "a") as file:  # in its working directory, which is its data directory
        file.write(f"{event['payload']}\\n")
    return {"status": "ok", "data": words}
serve(answer, version="VERSION")
"""

SDK = """
import asyncio
from pathlib import Path
import vconnect
class P(vconnect.Plugin):
    plugin_no = "keeper"
    version = "VERSION"
    capabilities = ["e"]
    async def on_start(self):
        await asyncio.sleep(0.2)
    async def on_event(self, ctx):
        with open("rows", "a") as file:
            file.write(f"{ctx.payload}\\n")
        ctx.reply((Path(__file__).parent / "words").read_text())
    ON_START
vconnect.run_plugin(P)
"""


def package(lab: Lab, version: str, code: str) -> str:
    source = lab.source(
        "keeper", dedent(code).replace("VERSION", version), below=f"v{version}", version=version
    )
    (source / "words").write_text(version)
    return str(pack(source, lab.directory / f"keeper-{version}.vp").path)


class Load:
    """Asks the plugin at a steady rate, and keeps what it was answered."""

    def __init__(self, runtime: PluginRuntimeManager) -> None:
        self._runtime = runtime
        self._asked: list[asyncio.Task[Any]] = []
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            due = int((loop.time() - began) * RATE)
            while len(self._asked) < due:
                number = len(self._asked)
                call = self._runtime.request("keeper", "e", number, timeout=20)
                self._asked.append(asyncio.ensure_future(call))
            await asyncio.sleep(0.001)

    async def end(self) -> list[str]:
        """Return the answers, in the order of the events; an event that failed raises."""
        self._task.cancel()
        return list(await asyncio.gather(*self._asked))


@pytest.mark.slow
@pytest.mark.both_loops
@pytest.mark.parametrize("code", [CLASSIC, SDK.replace("ON_START", "")], ids=["classic", "sdk"])
async def test_an_upgrade_under_load_loses_no_event_and_no_file(lab: Lab, code: str) -> None:
    one, two, three = (package(lab, version, code) for version in ("1", "2", "3"))
    async with lab.manager() as runtime:
        await runtime.install_from_url(one)
        await runtime.start_all()
        load = Load(runtime)
        await asyncio.sleep(0.5)
        for new in (two, three):
            await runtime.install_from_url(new)
            await asyncio.sleep(0.3)
            await runtime.restart_plugin("keeper")
        await asyncio.sleep(0.5)
        answers = await load.end()
        assert set(answers) == {"1", "2", "3"}
        assert answers[0] == "1"
        assert answers[-1] == "3"
        assert runtime.summary("keeper").errors == 0
        (rows,) = lab.plugins.glob(".vconnect/hosts/*/data/keeper/rows")
        assert sorted(map(int, rows.read_text().split())) == list(range(len(answers)))
    versions = lab.plugins / "keeper" / "versions"
    assert sorted(path.name.partition("+")[0] for path in versions.iterdir()) == ["2", "3"]
    # Nothing was written into a package.
    assert {path.name for path in versions.glob("*/pkg/*")} == {"keeper", "plugin.json", "words"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["at once", "later", "78"])
async def test_an_upgrade_to_a_version_that_fails_in_on_start_costs_nothing(
    lab: Lab, how: str
) -> None:
    failing = {
        "at once": "raise RuntimeError('no')",
        "later": "await asyncio.sleep(1); raise RuntimeError('no')",
        "78": "raise vconnect.ConfigError('no token')",
    }[how]
    broken = SDK.replace("ON_START", f"async def on_start(self):\n        {failing}")
    one, two = package(lab, "1", SDK.replace("ON_START", "")), package(lab, "2", broken)
    async with lab.manager() as runtime:
        await runtime.install_from_url(one)
        await runtime.start_all()
        load = Load(runtime)
        await runtime.install_from_url(two)
        with pytest.raises(PluginStartError, match="exited: code"):
            await runtime.restart_plugin("keeper")
        assert set(await load.end()) == {"1"}
        assert runtime.summary("keeper").version == "1"
        assert (lab.plugins / "keeper" / "current").readlink().name.startswith("1+")
        # It is rolled back for good: neither a restart nor the next host tries it again.
        await runtime.restart_plugin("keeper")
        assert runtime.summary("keeper").version == "1"
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert runtime.summary("keeper").version == "1"
        await until(lambda: runtime.summary("keeper").reason == "")


async def test_a_version_that_was_never_started_is_tried_by_the_next_host(lab: Lab) -> None:
    one, two = (package(lab, version, CLASSIC) for version in ("1", "2"))
    async with lab.manager() as runtime:
        await runtime.install_from_url(one)
        await runtime.start_all()
        await runtime.install_from_url(two)
    # It was never ready, so it is only the next one, and is tried by the next start of the host.
    assert Path(lab.plugins, "keeper", "current").readlink().name.startswith("1+")
    async with lab.manager() as runtime:
        await runtime.start_all()
        assert await runtime.request("keeper", "e", 0) == "2"
    assert Path(lab.plugins, "keeper", "current").readlink().name.startswith("2+")
