"""What must hold between the keys of a configuration: all that does not, at once."""

from __future__ import annotations

from pathlib import Path

import msgspec

from vconnect.settings.model import Settings
from vconnect.settings.rules import (
    faults_of_events,
    faults_of_names,
    faults_of_roles,
    faults_of_sources,
)


def settings_of(**values: object) -> Settings:
    return msgspec.convert(values, Settings)


def test_names_and_patterns() -> None:
    settings = settings_of(
        dev_plugins=["x", "../y:z", "good:.", "wk.plugin.good:/elsewhere", "good:."],
        sources={"https://a/": {"keys": ["87D14D9104688B17", "87d14d9104688b17"]}},
        config={"a": {}, "wk.plugin.a": {}, "v.plugin.a": {"n": float("nan")}},
        options={"b": {"events": {"a b": {}}, "watch_ignore": ["../x"]}},
    )
    assert [str(fault).partition(";")[0] for fault in faults_of_names(settings)] == [
        "plugins.dev_plugins: dev plugin 'x': expected NAME:PATH, such as example:./example",
        "plugins.dev_plugins: dev plugin '../y:z': the name is '../y'",
        f"plugins.dev_plugins: good is there twice, from {Path.cwd()} and from /elsewhere",
        "plugins.sources.'https://a/'.keys: got '87d14d9104688b17'",
        "plugins.config.v.plugin.a.n: nan is not a JSON number",
        "plugins.config has 'a' and 'wk.plugin.a', which are the same plugin (a)",
        "plugins.config has 'a' and 'v.plugin.a', which are the same plugin (a)",
        "plugins.options.'b'.events: got 'a b'",
        "plugins.options.'b'.watch_ignore: '../x' leads out of the directory",
    ]


def test_the_address_of_an_index_has_no_credentials() -> None:
    bad = [
        "https://ann:SECRET@h/x/",
        "https://SECRET@h",
        "https://h/?t=SECRET",
        "https://h/#SECRET",
    ]
    good = ["https://h/x@1/", "https://h", "/srv/a@b/", "./site?/"]
    index = {"index": True}
    settings = settings_of(
        sources=dict.fromkeys((*bad, *good), index) | {"https://ann:SECRET@other/": {}}
    )
    faults = [str(fault) for fault in faults_of_sources(settings)]
    assert [fault.partition(": ")[0] for fault in faults] == [
        *["plugins.sources.'https://h/…'"] * 4
    ]
    assert all("SECRET" not in fault for fault in faults)
    assert "VCONNECT_TOKEN_<HOST>" in faults[0]


def test_events() -> None:
    settings = settings_of(
        events={
            "vconnect.x": {},
            "a b": {"may_change": {"x": [], "v.plugin.x": []}},
            "c": {"on_failure": "default"},
            "d": {"default": {"n": float("inf")}},
        }
    )
    assert [str(fault).partition(";")[0] for fault in faults_of_events(settings.events)] == [
        "events.'vconnect.x': these events are the host's own",
        "events.'a b'.may_change has 'x' and 'v.plugin.x', which are the same plugin (x)",
        "events: got 'a b'",
        "events.'c': on_failure is 'default', but there is no default",
        "events.'d'.default.n: inf is not a JSON number",
    ]


def test_roles() -> None:
    settings = settings_of(
        events={"a": {"requires": ["x"]}},
        options={"x": {"events": {"a": {"role": "observer"}, "b": {"on_failure": "default"}}}},
    )
    assert [str(fault).partition(";")[0] for fault in faults_of_roles(settings)] == [
        "plugins.options.'x'.events.'b': on_failure is 'default', but the event has none",
        "plugins.options.'x'.events.'a'.role: the event requires this plugin, so it must be asked "
        "every time",
    ]
