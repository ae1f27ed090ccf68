"""The wall clock jumps; no timer moves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from tests.support.lab import ECHO, Lab
from tests.support.serving import Serve

LIBRARY = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not here (apt-get install faketime)")
@pytest.mark.parametrize("loop", ["--uvloop", "--no-uvloop"])
@pytest.mark.parametrize("jump", ["-3600", "+86400"])
def test_no_timer_moves_with_the_wall_clock(lab: Lab, loop: str, jump: str) -> None:
    clock = lab.directory / "clock"
    clock.write_text("+0\n")
    lab.plugin("echo", ECHO)
    lab.plugin("crash", "time.sleep(0.05)\nsys.exit(1)")
    config = lab.directory / "vconnect.toml"
    config.write_text("[plugins]\nrestart_delay = 0.5\nrestart_max_delay = 0.5\n")
    environ = {
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with Serve(lab, loop, "--config", str(config), environ=environ) as host:
        host.wait_until("echo", "Running")
        before = host.status("echo")["last_heartbeat"]
        generation = host.status("crash")["generation"]
        clock.write_text(f"{jump}\n")
        end = time.monotonic() + 30
        while abs(host.status("echo")["last_heartbeat"] - before) < 3000:
            assert time.monotonic() < end, "the host has not seen the jump"
            time.sleep(0.1)
        # Restarts go on as planned, up to the crash loop; calls have their deadlines.
        while host.status("crash")["substate"] != "crash_loop":
            assert time.monotonic() < end, host.status("crash")
            time.sleep(0.1)
        assert host.status("crash")["generation"] >= generation
        assert host.status("echo")["status"] == "Running"
        assert 0 <= host.status("echo")["uptime_s"] < 60
        assert host.ask("emit", "e", "{}", "--timeout", "5").returncode in (0, 1)
        assert '"echo"' in host.ask("emit", "e", "{}", "--plugin", "echo", "--json").stdout
    assert "Traceback" not in host.log.read_text()
