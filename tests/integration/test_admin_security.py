"""The administration interface over TCP against whoever may not use it: nothing changes."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from tests.support.admin_tcp import OPERATE, VIEW, Tcp, admin_over_tcp, token_file
from tests.support.lab import ECHO, Lab, new_lab
from tests.support.web import JSON

from vconnect.admin.http.table import Route
from vconnect.admin.servers.application import HEADERS
from vconnect.admin.servers.server import AdminServer
from vconnect.errors import ConfigError

pytestmark = pytest.mark.timeout(120)


@asynccontextmanager
async def hosted(**options: Any) -> AsyncIterator[Tcp]:
    with new_lab() as lab:
        async with admin_over_tcp(lab, **options) as tcp:
            yield tcp


def filled(path: str, name: str = "echo") -> str:
    return path.replace("{name}", name).replace("{file}", "app.js")


def routes(tcp: Tcp, *methods: str) -> list[Route]:
    table = tcp.server.administration.table
    return [route for route in table.routes if not methods or route.method in methods]


def orders(tcp: Tcp) -> list[Route]:
    return routes(tcp, "POST", "PUT", "DELETE")


# --- pages of other sites ----------------------------------------------------------------------

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
BYTES = {"Content-Type": "application/octet-stream"}
ATTACKS: list[tuple[str, dict[str, str], bytes, set[int]]] = [
    ("a form", FORM, b"dry_run=false", {415}),
    ("an empty form", FORM, b"", {415}),
    ("a form with JSON in a name", {"Content-Type": "text/plain"}, b'{"names":["echo"]}', {415}),
    ("an upload", {"Content-Type": "multipart/form-data; boundary=x"}, b"--x--", {415}),
    ("a blob", BYTES, b"{}", {415}),
    ("a blob of another site", {**BYTES, "Origin": "http://evil.test"}, b"{}", {403}),
    ("a sandboxed frame", {**JSON, "Origin": "null"}, b"{}", {403}),
    ("another site", {**JSON, "Origin": "http://evil.test"}, b"{}", {403}),
    ("another port", {**JSON, "Origin": "http://127.0.0.1:1"}, b"{}", {403}),
    ("a fetch", {**JSON, "Sec-Fetch-Site": "cross-site"}, b"{}", {403}),
    ("another port's fetch", {**JSON, "Sec-Fetch-Site": "same-site"}, b"{}", {403}),
]


async def test_no_page_of_another_site_gives_an_order() -> None:
    async with hosted() as tcp:
        before = tcp.state()
        for route in orders(tcp):
            takes_bytes = route.method == "PUT" and (route.body is bytes or route.is_hidden)
            for what, headers, body, statuses in ATTACKS:
                # A browser asks before a page sends those, and is not answered; see below.
                if what == "a blob" and takes_bytes:
                    continue
                async with tcp.operate.sent(
                    route.method, filled(route.path), headers=headers, data=body
                ) as answer:
                    assert answer.status in statuses, (what, route.method, route.path)
                    assert not [one for one in answer.headers if one.lower().startswith("access-")]
        assert tcp.state() == before
        assert (await tcp.operate("GET", "/api/audit"))["items"] == []


async def test_a_session_is_no_better_than_a_token_for_another_site() -> None:
    async with hosted() as tcp:
        before = tcp.state()
        async with tcp.nobody.sent("POST", "/api/session", json={"token": OPERATE}) as answer:
            cookie = answer.headers["Set-Cookie"].partition(";")[0]
        has = {"Cookie": cookie, **JSON}
        stop = "/api/plugins/echo/stop"
        await tcp.nobody.fails("POST", stop, 403, data=b"{}", headers={**has, "Origin": "null"})
        host = f"127.0.0.1:{tcp.port}"
        assert tcp.state() == before
        own = {**has, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
        await tcp.nobody("POST", stop, data=b"{}", headers=own)
        assert tcp.state() != before


async def test_a_preflight_is_not_answered() -> None:
    async with hosted() as tcp:
        asks = {
            "Origin": "http://evil.test",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type",
        }
        async with tcp.nobody.sent("OPTIONS", "/api/plugins/echo/stop", headers=asks) as answer:
            assert answer.status == 405
            assert not [one for one in answer.headers if one.lower().startswith("access-")]


# --- names and hosts ---------------------------------------------------------------------------


async def raw(tcp: Tcp, *lines: str, body: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", tcp.port)
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1") + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "hosts",
    [
        [],
        ["evil.test"],
        ["localhost.evil.test"],
        ["127.0.0.1:80@x"],
        ["localhost", "evil.test"],
        ["evil.test", "localhost"],
        ["[::2]"],
        ["0.0.0.0"],
    ],
)
async def test_a_name_that_was_bound_to_us_is_refused(hosts: list[str]) -> None:
    async with hosted() as tcp:
        before = tcp.state()
        named = [f"Host: {host}" for host in hosts]
        token = f"Authorization: Bearer {OPERATE}"
        for line in ("GET /api/plugins", "POST /api/plugins/echo/stop", "GET /", "GET /healthz"):
            answer = await raw(tcp, f"{line} HTTP/1.1", *named, token)
            assert answer.split(b" ")[1] in (b"403", b"400"), answer
            assert b'"plugins"' not in answer
        assert tcp.state() == before


async def test_names_that_the_operator_has_added_are_ours() -> None:
    async with hosted(http_hosts=("Plugins.Example",)) as tcp:
        for host, status in (("plugins.example", 200), ("PLUGINS.EXAMPLE:443", 200), ("x", 403)):
            async with tcp.view.sent("GET", "/api/host", headers={"Host": host}) as answer:
                assert answer.status == status


# --- what reading and roles may do -------------------------------------------------------------


async def test_going_through_all_paths_by_get_changes_nothing() -> None:
    async with hosted() as tcp:
        document = await tcp.operate("GET", "/api/openapi.json")
        before = tcp.state()
        for path in document["paths"]:
            if path == "/api/stream":
                continue
            for method in ("GET", "HEAD"):
                for form in (filled(path), filled(path).rstrip("/") + "/", filled(path) + "?x=1"):
                    async with tcp.operate.sent(method, form) as answer:
                        assert answer.status in (200, 400, 404, 405, 409, 503), (method, form)
        assert tcp.state() == before
        assert (await tcp.operate("GET", "/api/audit"))["items"] == []


async def test_each_order_needs_the_role_for_it() -> None:
    async with hosted() as tcp:
        before = tcp.state()
        tried = 0
        for route in routes(tcp):
            path = filled(route.path)
            if route.role == "operate":
                tried += 1
                code, detail = await tcp.view.fails(route.method, path, 403, json={})
                assert (code, "operate" in detail) == ("role", True)
            if route.role is not None:
                body: dict[str, Any] = {"json": {}} if route.method != "GET" else {}
                assert (await tcp.nobody.fails(route.method, path, 401, **body))[0] == "no_token"
                assert tcp.nobody.headers["WWW-Authenticate"] == "Bearer"
        assert tried > 15
        assert tcp.state() == before


async def test_who_only_looks_sees_no_payload() -> None:
    async with hosted() as tcp:
        await tcp.operate("POST", "/api/trace/payloads", json={"seconds": 60})
        leave = tcp.runtime.traces.watch(lambda _: None)
        await tcp.runtime.emit("test.event", {"canary": "bird"})
        seen = await tcp.operate("GET", "/api/trace")
        assert "bird" in json.dumps(seen)
        assert "bird" not in json.dumps(await tcp.view("GET", "/api/trace"))
        leave()


# --- tokens ------------------------------------------------------------------------------------


async def test_after_ten_wrong_tokens_only_the_right_one_is_accepted() -> None:
    async with hosted() as tcp:
        wrong = {"Authorization": "Bearer " + "x" * 40}
        for _ in range(10):
            assert (await tcp.nobody.fails("GET", "/api/host", 401, headers=wrong))[0] == (
                "bad_token"
            )
        code, _ = await tcp.nobody.fails("GET", "/api/host", 429, headers=wrong)
        assert code == "too_many_tries"
        assert 1 <= int(tcp.nobody.headers["Retry-After"]) <= 60
        assert (await tcp.nobody.fails("POST", "/api/session", 429, json={"code": "x"}))[0]
        # All users of a machine have one address: nobody may shut the others out.
        right = {"Authorization": f"Bearer {OPERATE}"}
        assert (await tcp.nobody("GET", "/api/host", headers=right))["role"] == "operate"


async def test_a_token_is_in_no_answer_and_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answers: list[bytes] = []
    async with hosted() as tcp:

        async def keep(web: Any, method: str, path: str, **options: Any) -> None:
            async with web.sent(method, path, **options) as answer:
                answers.append(await answer.read() + repr(dict(answer.headers)).encode())

        for route in routes(tcp, "GET"):
            if route.path != "/api/stream":
                await keep(tcp.operate, "GET", filled(route.path))
                await keep(tcp.nobody, "GET", f"{filled(route.path)}?token={OPERATE}")
        for body in ({"token": OPERATE}, {"token": [OPERATE]}, {OPERATE: 1}, OPERATE):
            await keep(tcp.nobody, "POST", "/api/session", json=body)
        for header in (f"Basic {OPERATE}", f"Bearer {OPERATE} x", OPERATE):
            await keep(tcp.nobody, "GET", "/api/host", headers={"Authorization": header})
        await keep(tcp.operate, "POST", "/api/plugins/echo/restart", json={})
        await keep(tcp.operate, "GET", "/api/plugins/echo/logs")
        code = tcp.server.login_url.partition("#/login/")[2]
        await keep(tcp.nobody, "POST", "/api/session", json={"code": code})
    # A client's own unknown field is named to it, and to nobody else.
    told = [one for one in answers if OPERATE.encode() in one or VIEW.encode() in one]
    assert [one for one in told if b"unknown field" not in one] == []
    assert OPERATE not in caplog.text
    assert code not in caplog.text
    assert len(answers) > 30


async def test_a_link_that_was_used_logs_nobody_in() -> None:
    async with hosted() as tcp:
        code = tcp.server.login_url.partition("#/login/")[2]
        async with tcp.nobody.sent("POST", "/api/session", json={"code": code}) as answer:
            assert answer.status == 204
        assert (await tcp.nobody.fails("POST", "/api/session", 401, json={"code": code}))[0] == (
            "bad_token"
        )


# --- every answer ------------------------------------------------------------------------------


async def test_every_answer_has_the_headers() -> None:
    async with hosted() as tcp:
        asked: list[tuple[Any, str, str, dict[str, Any]]] = [
            (tcp.operate, route.method, filled(route.path, name), {})
            for route in routes(tcp)
            for name in ("echo", "nobody")
            if route.path not in ("/api/stream",) and route.method == "GET"
        ]
        asked += [
            (tcp.nobody, "GET", "/api/host", {}),
            (tcp.view, "POST", "/api/plugins/echo/stop", {"json": {}}),
            (tcp.operate, "GET", "/nowhere", {}),
            (tcp.operate, "PATCH", "/api/host", {}),
            (tcp.operate, "POST", "/api/events", {"json": {"event": ""}}),
            (tcp.operate, "POST", "/api/events", {"data": b"x"}),
            (tcp.operate, "POST", "/api/events", {"json": {"event": "e", "plugin": "down"}}),
            (tcp.operate, "GET", "/api/host", {"headers": {"Host": "evil.test"}}),
            (tcp.operate, "GET", "/api/stream", {"headers": {"Host": "evil.test"}}),
        ]
        seen = set()
        for web, method, path, options in asked:
            async with web.sent(method, path, **options) as answer:
                seen.add(answer.status)
                for name, value in HEADERS.items():
                    # The page's files are asked for again, by their tag.
                    if name != "Cache-Control":
                        assert answer.headers[name] == value, (method, path)
                assert answer.headers["Cache-Control"] in ("no-store", "no-cache")
                assert re.search("python|aiohttp", answer.headers["Server"], re.I) is None
        assert seen >= {200, 400, 401, 403, 404, 405, 415, 503}


@pytest.mark.parametrize(
    "name",
    [
        *(
            "%2e%2e%2fecho",
            "..%2f..%2fetc%2fpasswd",
            "..%5cecho",
            "echo%00",
            "%00",
            "%2e",
            "%2e%2e",
        ),
        *("echo%2f", "echo%20", "echo;x", "%252e%252e", "%c0%ae%c0%ae", "%ff", "echo%0d%0aX:1"),
        "x" * 4096,
    ],
)
async def test_a_name_is_never_a_path(name: str) -> None:
    async with hosted() as tcp:
        before = tcp.state()
        for method, what in (
            ("GET", "status"),
            ("GET", "logs"),
            ("POST", "stop"),
            ("PUT", "config"),
        ):
            options: dict[str, Any] = {"json": {}} if method != "GET" else {}
            path = f"/api/plugins/{name}/{what}"
            async with tcp.operate.sent(method, path, **options) as answer:
                assert answer.status == 404, await answer.text()
                assert "X" not in answer.headers
        for path in ("/%2e%2e%2fserver.py", "/..%2fserver.py", "/page%2fapp.js", "//etc/passwd"):
            async with tcp.operate.sent("GET", path) as answer:
                assert answer.status == 404
        assert tcp.state() == before


# --- slow and many -----------------------------------------------------------------------------


async def test_a_hundred_who_never_finish_do_not_hold_up_events() -> None:
    async with hosted() as tcp:

        async def took(count: int) -> float:
            longest = 0.0
            for _ in range(count):
                began = time.perf_counter()
                outcome = await tcp.runtime.emit("test.event", {"n": 1})
                assert outcome.results[0].ok
                longest = max(longest, time.perf_counter() - began)
            return longest

        await took(50)
        writers = []
        for number in range(100):
            _, writer = await asyncio.open_connection("127.0.0.1", tcp.port)
            half = b"GET /api/host HTTP/1.1\r\nHost: localhost\r\nX: "
            slow_body = (
                b"POST /api/events HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            writer.write(half if number % 2 else slow_body)
            writers.append(writer)

        async def drip() -> None:
            while True:
                for writer in writers:
                    writer.write(b"x")
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await took(200) < 1.0
        assert (await tcp.operate("GET", "/api/host"))["plugins"] == 2
        dripping.cancel()
        for writer in writers:
            writer.transport.abort()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 5000 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    ],
    ids=["a long line", "a long header", "many headers", "TLS"],
)
async def test_a_head_has_its_bounds(head: bytes) -> None:
    async with hosted() as tcp:
        reader, writer = await asyncio.open_connection("127.0.0.1", tcp.port)
        writer.write(head)
        async with asyncio.timeout(20):
            assert b" 400 " in (await reader.read()).partition(b"\r\n")[0]
        writer.close()
        assert (await tcp.view("GET", "/api/host"))["plugins"] == 2


# --- before it starts --------------------------------------------------------------------------


async def test_it_does_not_start_where_it_would_not_be_safe(lab: Lab) -> None:
    lab.plugin("echo", ECHO)
    run = lab.directory / "run"
    open_to_all = token_file(lab.directory, "open", OPERATE, 0o644)
    async with lab.manager() as runtime:
        for options, words in (
            ({"http": "0.0.0.0:0"}, "needs a token"),
            ({"http": "[::]:0"}, "needs a token"),
            ({"http": "0.0.0.0:0", "no_token": True}, "only for loopback"),
            ({"http": "127.0.0.1:0", "token_file": open_to_all}, "chmod 600"),
            ({"http": "127.0.0.1:0", "view_token_file": open_to_all}, "chmod 600"),
            ({"http": "127.0.0.1:0", "token_file": run / "none"}, "cannot be read"),
        ):
            server = AdminServer(runtime, run / "admin.sock", **options)
            with pytest.raises(ConfigError, match=words):
                await server.start()
            assert not (run / "admin.sock").exists()


async def test_the_token_that_is_made_is_private_and_the_same_the_next_time(lab: Lab) -> None:
    run = lab.directory / "run"
    async with lab.manager() as runtime:
        tokens = []
        for _ in range(2):
            server = AdminServer(runtime, run / "admin.sock", http="127.0.0.1:0")
            await server.start()
            file = run / "admin.token"
            assert file.stat().st_mode & 0o777 == 0o600
            tokens.append(file.read_text().strip())
            async with (
                aiohttp.ClientSession() as session,
                session.get(
                    f"{server.url}api/host", headers={"Authorization": f"Bearer {tokens[-1]}"}
                ) as answer,
            ):
                assert answer.status == 200
            await server.stop()
    assert tokens[0] == tokens[1]
    assert len(tokens[0]) == 64
