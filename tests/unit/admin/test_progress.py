"""Answers that show how far the work is."""

from __future__ import annotations

import asyncio
import json

from vconnect.admin.asked import Asked
from vconnect.admin.progress import JSON_LINES, wants_lines, with_progress
from vconnect.errors import InstallError
from vconnect.packages.progress import Step


def asked(accept=""):
    return Asked("POST", "/api/install", (), {"accept": accept}, None, "socket")


async def lines(work):
    reply = with_progress(asked(), work)
    assert reply.content_type == JSON_LINES
    return [json.loads(line) async for line in reply.chunks]


def test_lines_are_for_those_who_ask_for_them():
    assert wants_lines(asked("text/html, Application/JSONL; q=1"))
    assert not wants_lines(asked("application/json"))


async def test_the_result_is_the_last_line():
    async def work(report):
        report(Step(source="x", bytes=1, total=2, rate=3.0))
        await asyncio.sleep(0.7)
        return {"changes": []}

    first, last = await lines(work)
    assert first["progress"]["bytes"] == 1
    assert last == {"changes": []}


async def test_an_error_is_the_last_line_in_the_form_of_all_errors():
    async def work(_):
        raise InstallError("it is broken; get another one")

    (last,) = await lines(work)
    assert (last["code"], last["next"]) == ("install_error", "get another one")
