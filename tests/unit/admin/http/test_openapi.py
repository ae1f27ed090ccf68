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


def test_every_order_takes_a_key_and_need_not_be_waited_for() -> None:
    for route in TABLE.routes:
        if route.is_hidden:
            continue
        operation = DOCUMENT["paths"][route.path][route.method.lower()]
        headers = {one["name"] for one in operation.get("parameters", []) if one["in"] == "header"}
        is_order = bool(route.order) and route.body is not bytes
        assert ({"Idempotency-Key", "Prefer"} <= headers) is is_order, route.path
        assert ("202" in operation["responses"]) is is_order, route.path


def test_an_order_that_has_begun_is_described_as_its_route_describes_it() -> None:
    stop = DOCUMENT["paths"]["/api/plugins/{name}/stop"]["post"]["responses"]["202"]
    look = DOCUMENT["paths"]["/api/orders/{id}"]["get"]["responses"]["200"]
    assert stop["content"] == look["content"]
    assert "Location" in stop["headers"]


def test_a_package_is_the_only_body_that_is_bytes() -> None:
    bodies = {
        (method, path): set(operation["requestBody"]["content"])
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
        if "requestBody" in operation
    }
    assert bodies.pop(("put", "/api/blobs/{sha256}")) == {"application/octet-stream"}
    assert set(map(tuple, bodies.values())) == {("application/json",)}
    assert "201" in DOCUMENT["paths"]["/api/blobs/{sha256}"]["put"]["responses"]


def test_a_configuration_takes_the_etag_of_what_it_replaces() -> None:
    config = DOCUMENT["paths"]["/api/plugins/{name}/config"]["put"]
    assert "If-Match" in {one["name"] for one in config["parameters"]}


def test_an_answer_without_content_has_none() -> None:
    session = DOCUMENT["paths"]["/api/session"]
    for method in ("post", "delete"):
        assert set(session[method]["responses"]["204"]) == {"description"}


def test_the_ways_in_which_logs_are_followed_are_told() -> None:
    answer = DOCUMENT["paths"]["/api/logs"]["get"]["responses"]["200"]
    assert [*answer["content"]] == ["application/json", "application/jsonl", "text/event-stream"]
