"""Orders that a client may give again, or look up later: carried out once."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import urljoin

from tests.support.fake_manager import FakeManager, failing, plugin_summary
from tests.support.web import Web, asking, one_plugin

from vconnect.admin.http import orders
from vconnect.errors import ConflictError
from vconnect.settings.model import Settings

STOP = "/api/plugins/example/stop"


async def test_an_order_with_a_key_is_carried_out_once() -> None:
    manager = one_plugin()
    async with asking(manager) as web:
        for _ in range(3):
            answer = await web("POST", STOP, json={}, headers={"Idempotency-Key": "k"})
            assert answer["status"] == "Stopped"
        await web("POST", STOP, json={}, headers={"Idempotency-Key": "other"})
        await web("POST", STOP, json={})
    assert [call[0] for call in manager.calls] == ["stop"] * 3


async def test_who_asks_again_meanwhile_waits_for_the_same_answer() -> None:
    manager = one_plugin()
    manager.gate = asyncio.Event()
    async with asking(manager) as web:
        asked = [
            asyncio.ensure_future(web("POST", STOP, json={}, headers={"Idempotency-Key": "k"}))
            for _ in range(2)
        ]
        await asyncio.sleep(0.05)
        manager.gate.set()
        first, second = await asyncio.gather(*asked)
    assert first == second
    assert len(manager.calls) == 1


async def test_a_failure_is_an_answer_too() -> None:
    manager = failing(ConflictError("not now"))
    async with asking(manager) as web:
        for _ in range(2):
            code, words = await web.fails(
                "POST", STOP, 409, json={}, headers={"Idempotency-Key": "k"}
            )
            assert (code, words) == ("conflict", "not now")


async def test_a_key_is_for_one_request() -> None:
    async with asking(one_plugin()) as web:
        event: dict[str, Any] = {"event": "e", "payload": 1}
        headers = {"Idempotency-Key": "k"}
        await web("POST", "/api/events", json=event, headers=headers)
        event["payload"] = 2
        found = await web.fails("POST", "/api/events", 409, json=event, headers=headers)
        assert "another body" in found[1]
        await web("POST", STOP, json={}, headers=headers)  # another route, another order
        long = {"Idempotency-Key": "k" * 129}
        assert (await web.fails("POST", STOP, 400, json={}, headers=long))[0] == "bad_field"


async def test_who_does_not_wait_looks_later() -> None:
    manager = one_plugin()
    manager.gate = asyncio.Event()
    async with asking(manager) as web:
        begun = await web("POST", STOP, json={}, status=202, headers={"Prefer": "respond-async"})
        assert (begun["state"], begun["order"], begun["plugin"]) == ("running", "stop", "example")
        assert web.headers["Location"] == f"../../orders/{begun['id']}"
        place = f"/api/orders/{begun['id']}"
        assert (await web("GET", place))["answer"] is None
        manager.gate.set()
        await ended(web, place)
        done = await web("GET", place)
        assert (done["state"], done["status"], done["answer"]["status"]) == ("done", 200, "Stopped")
        assert (await web.fails("GET", "/api/orders/none", 404))[0] == "unknown_order"


async def test_an_order_that_fails_later_says_why() -> None:
    async with asking(failing(ConflictError("not now"))) as web:
        begun = await web("POST", STOP, json={}, status=202, headers={"Prefer": "respond-async"})
        place = f"/api/orders/{begun['id']}"
        await ended(web, place)
        done = await web("GET", place)
    assert (done["state"], done["status"], done["answer"]["detail"]) == ("failed", 409, "not now")


async def ended(web: Web, place: str) -> None:
    while (await web("GET", place))["state"] == "running":
        await asyncio.sleep(0.01)


async def test_only_the_last_ones_are_kept(monkeypatch: Any) -> None:
    monkeypatch.setattr(orders, "_KEPT", 3)
    async with asking(one_plugin()) as web:
        places = []
        for number in range(6):
            headers = {"Prefer": "respond-async", "Idempotency-Key": str(number)}
            begun = await web("POST", STOP, json={}, status=202, headers=headers)
            places.append(f"/api/orders/{begun['id']}")
            await ended(web, places[-1])
        await web.fails("GET", places[0], 404)
        await web("GET", places[-1])


async def test_a_host_that_ends_cancels_what_is_under_way() -> None:
    manager = FakeManager(plugin_summary())
    manager.gate = asyncio.Event()
    before = asyncio.all_tasks()
    async with asking(manager) as web:
        await web("POST", STOP, json={}, status=202, headers={"Prefer": "respond-async"})
        await asyncio.sleep(0.05)
    assert asyncio.all_tasks() == before


async def test_a_body_above_the_limit_is_too_large_with_a_key_too() -> None:
    manager = FakeManager(settings=Settings(max_frame_bytes=1 << 16))
    async with asking(manager) as web:
        body = {"event": "e", "payload": "x" * (1 << 17)}
        headers = {"Idempotency-Key": "k"}
        found = await web.fails("POST", "/api/events", 413, json=body, headers=headers)
    assert found[0] == "too_large"


async def test_a_request_that_was_no_order_leaves_its_key() -> None:
    manager = one_plugin()
    headers = {"Idempotency-Key": "k", "Content-Type": "application/json"}
    async with asking(manager) as web:
        await web.fails("POST", "/api/events", 400, data=b"{", headers=headers)
        await web("POST", "/api/events", json={"event": "e"}, headers=headers)
        found = await web.fails("POST", "/api/events", 409, json={"event": "x"}, headers=headers)
    assert found[0] == "conflict"


async def test_the_place_of_an_order_is_found_after_a_final_slash_too() -> None:
    async with asking(one_plugin()) as web:
        for path, place in ((STOP, "../../orders/"), (STOP + "/", "../../../orders/")):
            await web("POST", path, json={}, status=202, headers={"Prefer": "respond-async"})
            assert web.headers["Location"].startswith(place)
            assert urljoin(path, web.headers["Location"]).startswith("/api/orders/")
