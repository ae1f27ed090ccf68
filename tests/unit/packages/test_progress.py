"""Steps of a download, and their rate, by a clock that is set by hand."""

from vconnect.packages.progress import Step, metered


class Watched:
    """What is reported of a download at times that a test says."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.now = 100.0
        self._progress = metered("https://h/a.vp", self.steps.append, lambda: self.now)

    def at(self, seconds: float, done: int, total: int | None = 1000) -> float:
        self.now = 100.0 + seconds
        self._progress(done, total)
        return self.steps[-1].rate


def test_a_step_says_what_and_how_far() -> None:
    watched = Watched()
    watched.at(0, 10, None)
    watched.at(1, 30)
    assert watched.steps == [
        Step("https://h/a.vp", 10, None, 0.0),
        Step("https://h/a.vp", 30, 1000, 20.0),
    ]


def test_what_was_there_already_does_not_count_as_fast() -> None:
    watched = Watched()
    assert watched.at(0, 900) == 0.0
    assert watched.at(2, 920) == 10.0


def test_the_rate_is_that_of_the_last_seconds() -> None:
    watched = Watched()
    for second in range(11):
        watched.at(second, second * 50)
    assert watched.at(20, 500) == 0.0, "it has stalled"
    assert watched.at(21, 600) == 100.0


def test_what_begins_anew_has_a_rate_of_its_own() -> None:
    watched = Watched()
    watched.at(0, 500)
    watched.at(1, 600)
    assert watched.at(2, 10) == 0.0
    assert watched.at(3, 30) == 20.0


def test_two_steps_at_one_time_have_no_rate() -> None:
    watched = Watched()
    watched.at(0, 1)
    assert watched.at(0, 100) == 0.0
