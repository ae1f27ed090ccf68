"""Which packages fit a host."""

from __future__ import annotations

import pytest

from vconnect.packages.fitness import agree, problem_of_interfaces


@pytest.mark.parametrize(
    ("offered", "wanted", "agreed"),
    [
        ([], [], ()),
        (["chat/2"], [], ()),
        (["chat/2"], ["chat/2"], ("chat/2",)),
        (["chat/2", "chat/1"], ["chat/1", "chat/2", "chat/3"], ("chat/2",)),
        (["chat/9", "chat/10"], ["chat/10", "chat/9"], ("chat/10",)),
        (["chat/2", "mod/1"], ["mod/1", "chat/2"], ("chat/2", "mod/1")),
        (["chat/2"], ["chat/3"], ()),
    ],
)
def test_the_highest_of_each_family_that_both_have(offered, wanted, agreed) -> None:
    assert agree(offered, wanted) == agreed


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        ([], []),
        (["chat/1"], []),
        (["chat/1", "chat/2"], ["chat/2"]),
        (["chat/2"], ["chat/2", "mod/1"]),  # this host has no such family
    ],
)
def test_it_fits(offered, wanted) -> None:
    assert problem_of_interfaces(offered, wanted) == ""


@pytest.mark.parametrize(
    ("offered", "wanted"),
    [
        ([], ["chat/2"]),
        (["chat/1"], ["chat/2", "chat/3"]),
        (["other/2"], ["chat/2"]),
        (["chat/2", "mod/2"], ["chat/2", "mod/1"]),  # it would misread those events
    ],
)
def test_it_does_not_fit_and_both_lists_are_told(offered, wanted) -> None:
    problem = problem_of_interfaces(offered, wanted)
    assert f"written for the interface {', '.join(wanted)}" in problem
    assert f"this host offers {', '.join(offered) or 'none'}" in problem


def test_a_plugin_must_name_one_where_that_is_required() -> None:
    assert "require_interface" in problem_of_interfaces(["chat/1"], [], is_required=True)
    assert problem_of_interfaces(["chat/1"], ["chat/1"], is_required=True) == ""
