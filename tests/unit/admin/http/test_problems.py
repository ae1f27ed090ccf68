"""Errors as problem documents."""

from __future__ import annotations

import json
import logging

import pytest

from vconnect import errors
from vconnect.admin.http.problems import KINDS, Problem, field_problem, reply_to, reply_to_error
from vconnect.errors import (
    ConfigError,
    InstallError,
    NotAskedError,
    PluginError,
    PluginReplyError,
    UnknownPluginError,
    VConnectError,
)


def told(error):
    reply = reply_to_error(error, "GET /x")
    assert reply.content_type == "application/problem+json"
    body = json.loads(reply.body)
    assert body["status"] == reply.status
    assert set(body) >= {"type", "title", "status", "code", "detail", "next", "error"}
    assert body["type"].endswith(f"#{body['code']}")
    return body


@pytest.mark.parametrize("code", KINDS)
def test_every_code_has_a_title_and_a_status(code):
    body = told(Problem(code, "words"))
    assert (body["code"], body["detail"]) == (code, "words")
    assert 400 <= body["status"] < 600
    assert not body["title"].endswith(".")


def test_a_wrong_field_is_named():
    body = json.loads(reply_to(field_problem("bad_field", "a.b", "expected int")).body)
    assert body["errors"] == [{"field": "a.b", "detail": "expected int"}]
    assert body["error"] == {"code": "bad_request", "message": "a.b: expected int"}


def test_busy_hosts_say_when_to_come_again():
    assert reply_to(Problem("overloaded", "x")).headers["Retry-After"] == "5"


@pytest.mark.parametrize(
    ("error", "status", "code", "plugin"),
    [
        (UnknownPluginError("a", "no such plugin"), 404, "unknown_plugin", "a"),
        (PluginReplyError("a", "no", "its_own"), 502, "plugin_error", "a"),
        (NotAskedError("a", "x", reason="circuit_open"), 503, "circuit_open", "a"),
        (NotAskedError("a", "x", reason="stopped"), 503, "not_connected", "a"),
        (ConfigError("x"), 422, "config_error", None),
        (InstallError("x"), 409, "install_error", None),
    ],
)
def test_our_errors_have_codes(error, status, code, plugin):
    body = told(error)
    assert (body["status"], body["code"], body.get("plugin")) == (status, code, plugin)


def test_an_error_of_a_plugin_keeps_its_own_code_for_old_clients():
    assert told(PluginReplyError("a", "no", "its_own"))["error"]["code"] == "its_own"


def test_a_name_that_was_nearly_right_is_told():
    body = told(UnknownPluginError("gretter", "no such plugin; did you mean x?", "greeter"))
    assert (body["did_you_mean"], body["next"]) == ("greeter", "did you mean x?")
    assert "did_you_mean" not in told(UnknownPluginError("x", "no such plugin"))


def test_the_advice_of_an_error_is_the_next_step():
    assert told(InstallError("it is broken; get another one"))["next"] == "get another one"


def test_a_bug_is_logged_and_told_by_its_number(caplog):
    with caplog.at_level(logging.ERROR):
        try:
            raise RuntimeError("a secret")
        except RuntimeError as error:
            body = told(error)
    assert (body["status"], body["code"]) == (500, "internal")
    assert "secret" not in json.dumps(body)
    assert body["id"] in caplog.text


def test_every_error_class_of_ours_has_an_answer():
    kinds = [
        one
        for one in vars(errors).values()
        if isinstance(one, type) and issubclass(one, VConnectError)
    ]
    for kind in kinds:
        arguments = ("a", "words") if issubclass(kind, PluginError) else ("words",)
        try:
            error = kind(*arguments)
        except TypeError:
            continue  # it takes more, and is raised by clients only
        assert told(error)["status"] < 600
