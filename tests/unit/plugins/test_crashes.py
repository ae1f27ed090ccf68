"""What is kept of ends that nobody asked for, and which events go with them."""

from __future__ import annotations

import logging
import os

import pytest
from tests.support.clock import Clock
from tests.support.paper import lost, report

from vconnect.plugins import crashes as module
from vconnect.plugins.crashes import Crashes, fingerprint

KEPT = module._KEPT_REPORTS


def frame(payload: object, event: str = "e") -> bytes:
    return lost(payload, event=event)[0].frame


# --- quarantine ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("crashes", "kept_away"),
    [
        ([], []),
        ([[1]], []),
        ([[1, 1]], []),
        ([[1], [1]], [1]),
        ([[1], [2]], []),
        ([[1], [2], [1]], [1]),
        ([[1, 2], [2, 3], [3, 4]], [2, 3]),
        ([[1], [1], [1]], [1]),
    ],
)
def test_an_event_that_was_in_flight_in_two_crashes_is_kept_away(crashes, kept_away):
    made = Crashes("x", None)
    for payloads in crashes:
        made.add(report(), lost(*payloads))
    assert [payload for payload in range(5) if made.skips(frame(payload))] == kept_away


def test_a_good_answer_clears_a_suspect():
    made = Crashes("x", None)
    made.add(report(), lost(1, 2))
    assert made.is_watching
    made.answered(frame(1))
    made.add(report(), lost(1, 2))
    assert [payload for payload in (1, 2) if made.skips(frame(payload))] == [2]


def test_a_suspicion_ages():
    clock = Clock()
    made = Crashes("x", None, clock)
    made.add(report(), lost(1))
    clock.now += 3601
    made.add(report(), lost(1))
    assert not made.quarantine
    clock.now += 3599
    made.add(report(), lost(1))
    assert made.skips(frame(1))


def test_a_release_gives_everything_a_new_chance(caplog):
    caplog.set_level(logging.INFO)
    made = Crashes("x", None)
    assert made.release() == 0
    made.add(report(), lost(1, 2))
    made.add(report(), lost(1))
    assert made.release() == 1
    assert not made.is_watching
    assert not made.skips(frame(1))
    made.add(report(), lost(1, 2))
    assert not made.quarantine
    assert "plugin x gets 1 quarantined event(s) again" in caplog.text


def test_the_same_payload_of_another_event_is_another_event():
    made = Crashes("x", None)
    made.add(report(), lost(1, event="a"))
    made.add(report(), lost(1, event="b"))
    assert not made.quarantine


def test_what_is_kept_away_can_be_looked_at(caplog):
    made = Crashes("x", None)
    for _ in range(2):
        made.add(report(), lost({"a": [1, "ä"]}))
    for count in range(3):
        (entry,) = made.quarantine.values()
        assert (entry.event, entry.payload, entry.skipped) == ("e", '{"a":[1,"ä"]}', count)
        assert made.skips(frame({"a": [1, "ä"]}))
    assert f"plugin x crashed twice with the event e ({entry.fingerprint})" in caplog.text


def test_what_is_kept_away_is_bounded(monkeypatch, caplog):
    monkeypatch.setattr(module, "_MAX_QUARANTINED", 3)
    made = Crashes("x", None)
    for number in range(5):
        for _ in range(2):
            made.add(report(), lost([number, "x" * 100_000]))
    entries = made.quarantine.values()
    assert [entry.payload[:3] for entry in entries] == ["[2,", "[3,", "[4,"]
    assert {entry.payload[65536:] for entry in entries} == {"… (100006 bytes)"}
    assert caplog.text.count("it gets the oldest, e (") == 2


def test_suspects_are_forgotten_one_by_one_the_oldest_first(monkeypatch):
    monkeypatch.setattr(module, "_MAX_SUSPECTS", 3)
    made = Crashes("x", None)
    for payload in range(4):
        made.add(report(), lost(payload))
    made.add(report(), lost(0))  # it was the oldest, and is new again; now 1 is forgotten
    made.add(report(), lost(3, 1))
    assert [payload for payload in range(4) if made.skips(frame(payload))] == [3]


def test_a_fingerprint_is_of_what_the_frame_says():
    assert fingerprint(b"a") == fingerprint(b"a") != fingerprint(b"b")
    assert len(fingerprint(b"")) == 16


# --- reports ---------------------------------------------------------------------------------


def test_the_last_ones_are_kept():
    made = Crashes("x", None)
    for number in range(KEPT + 3):
        made.add(report(number), ())
    assert [one.generation for one in made.reports] == list(range(3, KEPT + 3))


async def test_they_outlive_the_host(tmp_path):
    directory = tmp_path / "not" / "there" / "yet"
    made = Crashes("x", directory)
    for number in range(KEPT + 1):
        made.add(report(number), lost(1))
    await made.flush()
    again = Crashes("x", directory)
    assert list(again.reports) == list(made.reports)
    assert again.quarantine == {}  # a new host tries once more
    assert list(Crashes("y", directory).reports) == []


async def test_only_the_last_state_is_on_the_disk(tmp_path):
    made = Crashes("x", tmp_path)
    made.add(report(1), ())
    await made.flush()
    made.add(report(2), ())
    await made.flush()
    assert [one.generation for one in Crashes("x", tmp_path).reports] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


async def test_a_disk_that_refuses_costs_the_file_and_nothing_else(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    (tmp_path / "file").write_text("")
    made = Crashes("x", tmp_path / "file" / "crashes")
    for number in range(3):
        made.add(report(number), ())
        await made.flush()
    assert len(made.reports) == 3
    assert caplog.text.count(str(tmp_path / "file" / "crashes")) >= 1
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"{}",
        b"[1]",
        b'[{"at": 1}]',
        b"\xff",
        b'[{"at": "soon"}]',
        b'[{"reason": "\xff"}]',
    ],
)
def test_a_file_that_makes_no_sense_is_passed_over(tmp_path, caplog, data):
    (tmp_path / "x.json").write_bytes(data)
    assert list(Crashes("x", tmp_path).reports) == []
    assert str(tmp_path / "x.json") in caplog.text


def test_a_file_that_is_nested_too_deeply_is_passed_over(tmp_path, caplog):
    (tmp_path / "x.json").write_bytes(b'[{"unknown": ' + b"[" * 100_000)
    assert list(Crashes("x", tmp_path).reports) == []
    assert str(tmp_path / "x.json") in caplog.text


def test_what_is_no_file_or_has_no_end_is_passed_over(tmp_path, caplog):
    os.mkfifo(tmp_path / "pipe.json")
    assert list(Crashes("pipe", tmp_path).reports) == []
    assert "it is not a regular file" in caplog.text
    (tmp_path / "large.json").touch()
    os.truncate(tmp_path / "large.json", 1 << 40)
    assert list(Crashes("large", tmp_path).reports) == []
    assert "it has more than 64 MiB" in caplog.text


async def test_and_written_anew_at_the_next_crash(tmp_path):
    (tmp_path / "x.json").write_bytes(b"{")
    made = Crashes("x", tmp_path)
    made.add(report(7), ())
    await made.flush()
    assert [one.generation for one in Crashes("x", tmp_path).reports] == [7]
