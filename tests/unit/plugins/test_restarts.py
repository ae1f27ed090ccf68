"""When a plugin is started again, without waiting for it."""

import random

import pytest

from vconnect.plugins.restarts import Decision, Ended, Restarts
from vconnect.settings.restarts import RestartPolicy


class Always(random.Random):
    """Jitter that is always the same."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def random(self):
        return self.value


def restarts(jitter=1.0, **policy):
    return Restarts(RestartPolicy(**policy), Always(jitter))


def test_the_back_off_doubles_up_to_its_limit():
    made = restarts(crash_limit=100)
    delays = [made.ended(Ended.FAILED, 0, now).delay for now in range(0, 9000, 1000)]
    assert delays == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_full_jitter_means_anything_from_zero():
    assert restarts(0.0).ended(Ended.FAILED, 0, 0).delay == 0
    seeded = Restarts(RestartPolicy(), random.Random(1))
    assert 0 <= seeded.ended(Ended.FAILED, 0, 0).delay <= 0.5


def test_a_long_run_is_forgiven():
    made = restarts()
    for now in range(3):
        made.ended(Ended.FAILED, 0, now)
    assert made.ended(Ended.FAILED, 59.9, 100).delay == 4
    assert made.ended(Ended.FAILED, 60, 200).delay == 0.5


def test_five_ends_in_a_minute_are_a_crash_loop():
    made = restarts()
    for now in (0, 10, 20, 30):
        assert not made.ended(Ended.FAILED, 0, now).is_crash_loop
    assert made.ended(Ended.FAILED, 0, 60) == Decision(300, True)


def test_five_ends_in_more_than_a_minute_are_none():
    made = restarts()
    for now in (0, 10, 20, 30, 61):
        assert not made.ended(Ended.FAILED, 0, now).is_crash_loop


def test_a_crash_loop_lasts_until_a_long_run_or_an_operator():
    made = restarts()
    for now in range(5):
        made.ended(Ended.FAILED, 0, now)
    assert made.ended(Ended.FAILED, 0, 304).is_crash_loop
    assert not made.ended(Ended.FAILED, 61, 700).is_crash_loop
    for now in range(5):
        made.ended(Ended.FAILED, 0, 800 + now)
    made.forget()
    assert made.ended(Ended.FAILED, 0, 900) == Decision(0.5)


def test_give_up_gives_up():
    made = restarts(after_crash_loop="give_up")
    for now in range(4):
        made.ended(Ended.FAILED, 0, now)
    assert made.ended(Ended.FAILED, 0, 5) == Decision(None, True)
    assert made.ended(Ended.PERMANENT, 0, 6) == Decision(None)


@pytest.mark.parametrize(
    ("mode", "how", "starts"),
    [
        ("always", Ended.CLEANLY, True),
        ("always", Ended.FAILED, True),
        ("on-failure", Ended.CLEANLY, False),
        ("on-failure", Ended.FAILED, True),
        ("never", Ended.CLEANLY, False),
        ("never", Ended.FAILED, False),
        ("never", Ended.PERMANENT, False),
    ],
)
def test_the_mode_decides(mode, how, starts):
    assert (restarts(mode=mode).ended(how, 0, 0).delay is not None) is starts


def test_what_only_a_person_can_mend_is_not_tried_in_a_hurry():
    made = restarts()
    for now in range(10):
        assert made.ended(Ended.PERMANENT, 0, now) == Decision(300)


def test_clean_exits_count_as_well():
    made = restarts()
    for now in range(4):
        made.ended(Ended.CLEANLY, 0, now)
    assert made.ended(Ended.CLEANLY, 0, 5).is_crash_loop


def test_a_thousand_failures_do_not_overflow():
    made = restarts(crash_limit=2000)
    for now in range(1500):
        decision = made.ended(Ended.FAILED, 0, now)
    assert decision.delay == 30


def test_what_passes_in_a_moment_is_tried_in_milliseconds_and_then_less_often():
    made = restarts()
    delays = [made.ended(Ended.MOMENTARY, 0, 0).delay for _ in range(9)]
    assert delays == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2, 2]
    assert made.ended(Ended.TRANSIENT, 0, 0).delay == 2
    assert made.ended(Ended.MOMENTARY, 0, 0).delay == 0.02
    assert made.ended(Ended.FAILED, 0, 0) == Decision(0.5)
