"""The metrics and the examples for Prometheus and Grafana, checked with promtool."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import aiohttp
import pytest
from tests.support.lab import Lab

from vconnect import AdminServer

MONITORING = Path(__file__).parents[2] / "examples" / "monitoring"
PROMTOOL = shutil.which("promtool")

pytestmark = pytest.mark.skipif(PROMTOOL is None, reason="promtool (Debian: prometheus) is missing")


def promtool(*words: str, given: bytes = b"") -> str:
    done = subprocess.run(
        [PROMTOOL, *words], cwd=MONITORING, input=given, capture_output=True, check=False
    )
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return (done.stdout + done.stderr).decode()


def expressions() -> list[str]:
    panels = json.loads((MONITORING / "dashboard.json").read_text())["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", ())]


async def test_promtool_finds_nothing_wrong_with_the_metrics(lab: Lab) -> None:
    lab.plugin("a", "serve(capabilities=['message.incoming'])")
    lab.plugin("b", "sys.exit(3)", capabilities=["message"])
    async with lab.manager() as manager:
        await manager.start_all()
        for _ in range(3):
            await manager.emit("message.incoming", {"content": "x"})
        server = AdminServer(manager, lab.directory / "admin.sock")
        await server.start()
        connector = aiohttp.UnixConnector(str(lab.directory / "admin.sock"))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://localhost/metrics") as answer,
        ):
            metrics = await answer.read()
        await server.stop()
    assert b'vconnect_events_total{plugin="a",event="message.incoming",outcome="ok"} 3' in metrics
    assert b'vconnect_plugin_serving{plugin="b"} 0' in metrics
    assert promtool("check", "metrics", given=metrics) == ""


def test_the_alerts_say_what_their_tests_expect() -> None:
    promtool("check", "rules", "alerts.yml")
    promtool("test", "rules", "alerts.test.yml")


def test_every_expression_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel:{number}", "expr": one.replace("$instance", "h").replace("$event", "e")}
        for number, one in enumerate(expressions())
    ]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))


def test_no_panel_makes_a_dead_host_look_well() -> None:
    assert not [one for one in expressions() if "vector(0)" in one]
