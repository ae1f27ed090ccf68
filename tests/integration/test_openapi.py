"""The OpenAPI document is what the interface does, by example and by chance, on a live host."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.admin_tcp import OPERATE, VIEW, Tcp, admin_over_tcp
from tests.support.lab import new_lab

pytestmark = pytest.mark.timeout(180)

# A 3.1 document's own schema is large; what matters of it is little.
SHAPE = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"required": ["title", "version"]},
        "paths": {
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {
                "propertyNames": {"enum": ["get", "put", "post", "delete"]},
                "additionalProperties": {
                    "required": ["operationId", "responses"],
                    "properties": {
                        "responses": {
                            "minProperties": 1,
                            "propertyNames": {"pattern": r"^([1-5]\d\d|default)$"},
                            "additionalProperties": {"required": ["description"]},
                        },
                        "parameters": {
                            "items": {
                                "required": ["name", "in", "schema"],
                                "properties": {"in": {"enum": ["path", "query", "header"]}},
                            }
                        },
                    },
                },
            },
        },
    },
}


class Host:
    """A host in a thread of its own, for tests that block.

    Attributes:
        base: Where it listens.
        document: What it says of itself.
    """

    def __init__(self) -> None:
        self._ready, self._done = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self.base = ""
        self.document: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(),))

    def __enter__(self) -> Host:
        self._thread.start()
        assert self._ready.wait(30), "the host did not start"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(30)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()

    async def _run(self) -> None:
        with new_lab() as lab:
            async with admin_over_tcp(lab, event_timeout=0.5, chain_timeout=1.0) as tcp:
                self.base = tcp.server.url.rstrip("/")
                self.document = await tcp.operate("GET", "/api/openapi.json")
                self._ready.set()
                await self._done.wait()


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as running:
        yield running


def test_the_document_is_one_of_openapi_3_1(host: Host) -> None:
    jsonschema.validate(host.document, SHAPE)
    for schema in host.document["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def resolved(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "components": document["components"]}


QUERIES = {
    "/api/plugins": ["", "sort=name", "state=running"],
    "/api/plugins/{name}/logs": ["", "lines=5&level=warn&after=0&grep=x", "states=true"],
    "/api/trace": ["limit=5"],
    "/api/logs": ["", "plugin=echo&plugin=d*&host=true&lines=5&level=warn&grep=x"],
    "/api/info": ["name={name}"],
    "/api/search": ["word=x"],
    "/api/outdated": ["name={name}"],
}


async def test_every_good_answer_is_of_its_schema() -> None:
    with new_lab() as lab:
        async with admin_over_tcp(lab) as tcp:
            await tcp.runtime.emit("test.event", {"n": 1})
            await _check_answers(tcp)


async def _check_answers(tcp: Tcp) -> None:
    document = await tcp.operate("GET", "/api/openapi.json")
    checked = set()
    for path, operations in document["paths"].items():
        if "get" not in operations or path == "/api/stream":
            continue
        for name in ("echo", "down"):
            for query in QUERIES.get(path, [""]):
                url = f"{path}?{query}".replace("{name}", name).replace("{file}", "app.js")
                async with tcp.operate.sent("GET", url) as answer:
                    body = await answer.read()
                told = operations["get"]["responses"].get(
                    str(answer.status), operations["get"]["responses"]["default"]
                )
                kind = next(iter(told["content"]))
                if answer.content_type in ("application/json", "application/problem+json"):
                    assert answer.content_type == kind, path
                    schema = resolved(document, told["content"][kind]["schema"])
                    jsonschema.validate(json.loads(body), schema)
                    checked.add((path, answer.status))
    assert len({path for path, status in checked if status == 200}) > 10


# --- by chance ---------------------------------------------------------------------------------

# What a plugin or the host may rightly be unable to do.
MAY_FAIL = {502, 503, 504}
# They end what the others need, or wait for something on purpose.
LEFT_OUT = {"/api/stream", "/api/trace"}


@pytest.mark.parametrize("role", ["view", "operate"])
def test_whatever_is_sent_no_answer_is_a_fault_of_ours(host: Host, role: str) -> None:
    schema = schemathesis.openapi.from_dict(host.document)
    token = {"Authorization": f"Bearer {OPERATE if role == 'operate' else VIEW}"}
    found: list[Any] = [one.ok() for one in schema.get_all_operations()]  # type: ignore[union-attr]
    operations = [one for one in found if one.path not in LEFT_OUT]
    assert len(operations) > 25

    @given(st.data())
    @settings(
        max_examples=4 if role == "view" else 10,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def ask_each(data: st.DataObject) -> None:
        for operation in operations:
            case = data.draw(operation.as_strategy())
            # Names by chance are nobody's.
            is_removal = operation.method == "delete"
            if "name" in (case.path_parameters or {}) and data.draw(st.booleans()):
                case.path_parameters["name"] = "down" if is_removal else "echo"
            (case.query or {}).pop("follow", None)  # that has no end
            answer = case.call(base_url=host.base, headers=token, timeout=20)
            assert answer.status_code < 500 or answer.status_code in MAY_FAIL, (
                operation.method,
                operation.path,
                case.body,
                answer.text,
            )
            if role == "view" and operation.definition.raw.get("x-role") == "operate":
                assert answer.status_code in (400, 403, 404, 405, 415), answer.text
            case.validate_response(
                answer, checks=[schemathesis.checks.CHECKS.get_one("response_schema_conformance")]
            )

    ask_each()
