"""Text from strangers: nothing of it steers a terminal."""

from __future__ import annotations

import pytest

from vconnect.logs.text import decode_line, escape_controls, strip_controls

HARMLESS = ["", "plain", "tab\tstays", "名前 ünï", "emoji 🦀", "a b"]


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_stays(text: str) -> None:
    assert strip_controls(text) == escape_controls(text) == decode_line(text.encode()) == text


@pytest.mark.parametrize(
    ("text", "stripped"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[1;38;5;208mbold", "bold"),
        ("\x1b[2J\x1b[H", ""),
        ("\x1b[?25lhidden", "hidden"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]8;;https://a.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]0;title without an end", "]0;title without an end"),
        ("one\rtwo\nthree", "onetwothree"),
        ("\x00\x7f\x9b31m", "31m"),
        ("cut off \x1b[31", "cut off [31"),
    ],
)
def test_colors_and_controls_are_taken_out(text: str, stripped: str) -> None:
    assert strip_controls(text) == stripped


@pytest.mark.parametrize("text", ["\x1b\x00[31m", "\x1b[\x1b[31m31m", "\x1b\x1b[0m[2J"])
def test_taking_out_does_not_put_an_escape_together(text: str) -> None:
    assert strip_controls(text).isprintable()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", r"a\x1b[31mb"),
        ("one\ntwo\r", r"one\ntwo\r"),
        ("\x9b", r"\x9b"),
        ("\u202eevil", r"\u202eevil"),
        ("\u2066x\u2069", r"\u2066x\u2069"),
        ("line\u2028break", r"line\u2028break"),
        ("\x85", r"\x85"),
        ("tab\t\x00", "tab\t\\x00"),
    ],
)
def test_what_steers_is_shown(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_every_control_character_but_the_tab_is_shown_or_taken_out() -> None:
    for number in (*range(0x20), *range(0x7F, 0xA0)):
        if number != ord("\t"):
            assert escape_controls(f"a{chr(number)}b").isprintable()
            assert strip_controls(f"a{chr(number)}b") == "ab"


def test_a_line_loses_its_carriage_return_and_nothing_else_of_its_end() -> None:
    assert decode_line(b"text \r") == "text "
    assert decode_line(b"text\r\r") == "text"


def test_the_steps_of_a_progress_bar_are_kept_apart() -> None:
    assert decode_line(b"10%\r20%\r100%\r") == "10% 20% 100%"


def test_bytes_that_are_no_utf8_are_replaced() -> None:
    assert decode_line(b"caf\xe9 \xff") == "caf\ufffd \ufffd"
    assert decode_line(b"\xc2") == "\ufffd"
    # One control character of two bytes, and the same byte alone.
    assert decode_line(b"a\xc2\x9bb") == "ab"
    assert decode_line(b"a\x9bb") == "a\ufffdb"


def test_a_lone_surrogate_does_not_hinder() -> None:
    assert escape_controls("\udcff\x1b") == "\udcff\\x1b"
