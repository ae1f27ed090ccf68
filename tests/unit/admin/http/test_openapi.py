"""The document says of each route what the table says."""

from __future__ import annotations

import json

from tests.support.fake_manager import FakeManager

from vconnect.admin.http.openapi import document
from vconnect.admin.servers.administration import Administration

TABLE = Administration(FakeManager()).table
DOCUMENT = json.loads(document(TABLE))


def test_every_route_is_in_it_with_its_role() -> None:
    told = {
        (method.upper(), path, operation["x-role"])
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    assert told == {
        (one.method, one.path, one.role or "none") for one in TABLE.routes if not one.is_hidden
    }


def test_every_operation_has_a_name_of_its_own() -> None:
    names = [
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
    ]
    assert len(set(names)) == len(names)


def test_every_reference_leads_somewhere() -> None:
    text = json.dumps(DOCUMENT)
    schemas = DOCUMENT["components"]["schemas"]
    for part in text.split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in schemas


def test_names_in_a_path_are_required_and_keys_of_a_query_are_not() -> None:
    logs = DOCUMENT["paths"]["/api/plugins/{name}/logs"]["get"]["parameters"]
    places = {one["name"]: (one["in"], one["required"]) for one in logs}
    assert places["name"] == ("path", True)
    assert places["grep"] == places["lines"] == ("query", False)


def test_who_needs_nobody_needs_no_token() -> None:
    assert DOCUMENT["paths"]["/healthz"]["get"]["security"] == []
    assert "security" not in DOCUMENT["paths"]["/api/host"]["get"]


def test_each_route_tells_its_problems() -> None:
    restart = DOCUMENT["paths"]["/api/plugins/{name}/restart"]["post"]["responses"]
    assert "unknown_plugin" in restart["404"]["description"]
    assert "start_failed" in restart["409"]["description"]
    assert "role" in restart["403"]["description"]
    assert set(restart) >= {"200", "400", "401", "403", "404", "405", "409", "413", "415", "500"}
