"""The description of the interface."""

from __future__ import annotations

import json

from tests.support.fake_manager import FakeManager, plugin_summary

from vconnect.admin.administration import Administration
from vconnect.admin.openapi import document


async def described():
    administration = Administration(FakeManager(plugin_summary()))
    return administration.table, json.loads(document(administration.table))


async def test_every_route_is_described_once_with_its_role():
    table, found = await described()
    assert found["openapi"] == "3.1.0"
    shown = [route for route in table.routes if not route.is_hidden]
    operations = [one for path in found["paths"].values() for one in path.values()]
    assert len(operations) == len(shown)
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    assert found["paths"]["/api/plugins/{name}/stop"]["post"]["x-role"] == "operate"
    assert found["paths"]["/healthz"]["get"]["security"] == []


async def test_every_reference_leads_somewhere():
    _, found = await described()
    text = json.dumps(found)
    known = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    named = {part.partition('"')[0] for part in text.split('"$ref": "')[1:]}
    assert named
    assert named <= known


async def test_nothing_that_changes_is_asked_for_by_get():
    table, _ = await described()
    for route in table.routes:
        if route.method == "GET":
            assert not route.order, route.path
        elif route.path != "/api/session":
            assert route.role == "operate", route.path
