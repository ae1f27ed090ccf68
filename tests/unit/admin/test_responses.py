"""What goes out over the administration socket: bodies, statuses and the one form of errors."""

from __future__ import annotations

import json
import socket
from http import HTTPStatus
from http.client import HTTPResponse
from typing import Any

import msgspec
import pytest
from aiohttp import web

from vconnect import errors
from vconnect.admin.responses import error_response, json_response, raw_error_response, response_for
from vconnect.errors import (
    AdminError,
    ConfigError,
    HostCallError,
    IllegalTransitionError,
    InstallError,
    ManifestError,
    PluginError,
    PluginOverloadedError,
    PluginReplyError,
    PluginStartError,
    PluginStuckError,
    PluginTimeoutError,
    PluginUnavailableError,
    UnknownPluginError,
    VConnectError,
)
from vconnect.logs.records import LogRecord
from vconnect.plugins.status import PluginStatus


def body(response: web.Response) -> Any:
    assert response.content_type == "application/json"
    assert isinstance(response.body, bytes)
    return json.loads(response.body)


class Named(msgspec.Struct):
    name: str
    values: tuple[Any, ...] = ()


# --- bodies ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, None),
        ({"a": [1, "ä"]}, {"a": [1, "ä"]}),
        (Named("a", (1, 2)), {"name": "a", "values": [1, 2]}),
        ([Named("a", (Named("b"),))], [{"name": "a", "values": [{"name": "b", "values": []}]}]),
        ({"status": PluginStatus.RUNNING}, {"status": "Running"}),
    ],
)
def test_structs_become_objects(value, sent):
    assert body(json_response(value)) == sent


def test_no_browser_keeps_it_or_guesses_what_it_is():
    response = json_response({})
    assert response.status == 200
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("text", ["/p/\udcff", "\ud800"])
@pytest.mark.parametrize(
    "around",
    [
        lambda text: text,
        lambda text: {"paths": [text]},
        lambda text: {text: 1},
        Named,
        lambda text: (Named("fine"), Named("a", (text, {"deep": [text]}))),
    ],
)
def test_one_name_that_is_no_text_hides_nothing_else(text, around):
    plain = text.encode("utf-8", "replace").decode()
    assert body(json_response(around(text))) == body(json_response(around(plain)))


@pytest.mark.parametrize("text", ["hi", "hi \udcff"])
def test_the_fields_of_a_record_are_sent_as_they_are(text):
    record = LogRecord(7, 1.5, "log", "info", text, b'{"n":1e2,"deep":[{}]}')
    sent = body(json_response({"records": [record]}))["records"][0]
    assert sent == {
        "seq": 7,
        "time": 1.5,
        "stream": "log",
        "level": "info",
        "text": text.replace("\udcff", "?"),
        "fields": {"n": 100.0, "deep": [{}]},
    }


def test_what_has_no_form_in_json_is_a_fault_and_no_empty_answer():
    with pytest.raises(TypeError):
        json_response(object())


# --- errors ----------------------------------------------------------------------------------


def test_every_error_has_one_form():
    response = error_response(418, "teapot", "short <b>and</b> stout")
    assert response.status == 418
    assert body(response) == {"error": {"code": "teapot", "message": "short <b>and</b> stout"}}


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (UnknownPluginError("x", "no such plugin"), 404, "unknown_plugin"),
        (PluginStartError("x", "no"), 409, "start_failed"),
        (PluginReplyError("x", "no"), 502, "internal"),
        (PluginReplyError("x", "no", "own_code"), 502, "own_code"),
        (PluginTimeoutError("x", "no"), 504, "deadline_exceeded"),
        (PluginUnavailableError("x", "no"), 503, "unavailable"),
        (PluginStuckError("x", "no"), 503, "unavailable"),
        (PluginOverloadedError("x", "no"), 503, "overloaded"),
        (PluginError("x", "no"), 409, "internal"),
        (IllegalTransitionError("no"), 500, "illegal_transition_error"),
        (ManifestError("no"), 409, "manifest_error"),
        (InstallError("no"), 409, "install_error"),
        (ConfigError("no"), 409, "config_error"),
        (HostCallError("loop", "no"), 409, "host_call_error"),
        (AdminError(400, "bad", "no"), 409, "admin_error"),
        (VConnectError("no"), 409, "failed"),
    ],
)
def test_an_error_has_the_status_that_fits(error, status, code):
    response = response_for(error)
    assert response.status == status
    assert body(response) == {"error": {"code": code, "message": str(error)}}


def test_words_that_are_no_text_are_words_all_the_same():
    sent = body(response_for(InstallError("/p/\udcff: no such file")))
    assert sent["error"]["message"] == "/p/?: no such file"


def kinds() -> list[type[VConnectError]]:
    found = [one for one in vars(errors).values() if isinstance(one, type)]
    return [one for one in found if issubclass(one, VConnectError)]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_no_error_of_ours_is_without_a_status(kind):
    error = kind.__new__(kind, "words")
    response = response_for(error)
    assert 400 <= response.status < 600
    assert set(body(response)["error"]) == {"code", "message"}


def test_an_error_may_be_sent_without_a_request():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.sendall(raw_error_response(HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "nö"))
        ours.shutdown(socket.SHUT_WR)
        response = HTTPResponse(theirs)
        response.begin()
        assert (response.status, response.getheader("Connection")) == (503, "close")
        assert json.loads(response.read()) == {"error": {"code": "overloaded", "message": "nö"}}


def nested(levels: int) -> Any:
    value: Any = []
    for _ in range(levels):
        value = [value]
    return value


def test_what_cannot_be_encoded_takes_nothing_else_away() -> None:
    plugins = [{"name": "a\ud83d", "priority": 1 << 80}, {"name": "b", "data": nested(300)}]
    shown = body(json_response({"plugins": plugins}))["plugins"]
    assert shown[0] == {"name": "a?", "priority": str(1 << 80)}
    assert shown[1]["name"] == "b"
    assert "nested too deeply" in json.dumps(shown[1])
