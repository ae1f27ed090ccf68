"""The routes for settings, over a real server on a real Unix socket."""

from __future__ import annotations

import getpass
import os

import aiohttp
import msgspec
import pytest
from tests.support.fake_manager import FakeManager, served

from vconnect.admin.client.client import AdminClient
from vconnect.errors import AdminError, ConfigRefusedError
from vconnect.operations.configuration import ConfigChange
from vconnect.operations.reload import Reloaded
from vconnect.settings.differences import Difference

BY = f"uid {os.geteuid()} ({getpass.getuser()}) over the administration socket"
ROW = Difference(key="window", before=1, after=2, effect="restart")


async def test_a_reload_is_asked_for_with_who_asks_and_answered_whole() -> None:
    manager = FakeManager()
    manager.reloaded = Reloaded(plugins={"a": [ROW]}, needs_restart=["plugin_dir"])
    async with served(manager) as path, AdminClient(path) as client:
        done = await client.post("/api/reload", {"dry_run": True})
    assert manager.calls == [("reload", True, BY)]
    row = {"key": "window", "from": 1, "to": 2, "effect": "restart"}
    assert (done["plugins"], done["needs_restart"]) == ({"a": [row]}, ["plugin_dir"])
    assert (done["failed"], done["changes"], done["host"]) == ({}, [], [])


async def test_a_configuration_is_changed() -> None:
    manager = FakeManager()
    manager.configuration.answer = ConfigChange(name="a", changes=[ROW], how="asked")
    async with served(manager) as path, AdminClient(path) as client:
        body = {"set": {"x.y": 1}, "unset": ["z"], "save": True}
        change = await client.put("/api/plugins/a/config", body)
    options = {"unset": ["z"], "save": True, "dry_run": False, "by": BY}
    assert manager.configuration.asked == [("set", ("a", {"x.y": 1}), options)]
    assert change["changes"] == [msgspec.to_builtins(ROW)]


async def test_a_refusal_has_a_code_of_its_own_and_bad_fields_are_told() -> None:
    manager = FakeManager()
    manager.failure = ConfigRefusedError("no")
    async with served(manager) as path, AdminClient(path) as client:
        with pytest.raises(AdminError) as caught:
            await client.post("/api/reload")
        assert (caught.value.status, caught.value.code) == (409, "config_refused")
        with pytest.raises(AdminError, match="sett"):
            await client.put("/api/plugins/a/config", {"sett": {}})


@pytest.mark.parametrize(
    ("words", "errors"),
    [
        (
            "plugin a: invalid configuration: $.limits.rate: expected number, got string",
            [{"field": "limits.rate", "detail": "expected number, got string"}],
        ),
        (
            "plugin a: invalid configuration: $: missing key 'q'",
            [{"field": "", "detail": "missing key 'q'"}],
        ),
        ("a has refused it: try: again", []),
    ],
)
async def test_a_refusal_names_the_field_that_the_schema_does_not_allow(
    monkeypatch: pytest.MonkeyPatch, words: str, errors: list[dict[str, str]]
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise ConfigRefusedError(words)

    manager = FakeManager()
    monkeypatch.setattr(manager.configuration, "set", refuse, raising=False)
    async with (
        served(manager) as path,
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as web,
    ):
        answer = await web.put("http://localhost/api/plugins/a/config", json={"set": {"x": 1}})
        told = await answer.json()
    assert (answer.status, told["code"], told["detail"]) == (409, "config_refused", words)
    assert told.get("errors", []) == errors
