"""Answers in JSON."""

from __future__ import annotations

from vconnect.admin.http.encoding import json_reply


def test_an_answer_is_json():
    reply = json_reply({"a": 1}, 202)
    assert (reply.body, reply.status, reply.content_type) == (b'{"a":1}', 202, "application/json")
