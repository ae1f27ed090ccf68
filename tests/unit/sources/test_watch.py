"""Which changes of a source count, and when."""

import os
import shutil
import time
from types import SimpleNamespace

import pytest
from tests.support.clock import Clock

from vconnect.sources import watch as module
from vconnect.sources.scan import Source
from vconnect.sources.watch import SourceWatch

FOREVER = 4e9


class Watched:
    """One source, which is looked at twice a second by a clock of its own."""

    def __init__(self, directory, clock, **options):
        self.directory = directory
        self.clock = clock
        self.watch = SourceWatch()
        self.source = Source("a", directory, **options)
        self.since = FOREVER
        self.warnings = []

    def look(self):
        self.clock.now += 0.5
        changes, warnings = self.watch.look({self.source: self.since})
        self.warnings += warnings
        return list(changes["a"].files) if "a" in changes else None

    def looks(self, times=2):
        return [self.look() for _ in range(times)]

    def settled(self):
        """Look until a change is taken, for at most ten seconds."""
        return next((found for _ in range(22) if (found := self.look()) is not None), None)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def source(tmp_path, clock):
    (tmp_path / "plugin" / "src").mkdir(parents=True)
    (tmp_path / "plugin" / "src" / "main.rs").write_text("fn main() {}")
    watched = Watched(tmp_path / "plugin", clock)
    assert watched.looks() == [None, None]
    yield watched
    watched.watch.close()


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_a_change_counts_once_it_has_settled(source):
    write(source.directory / "src/main.rs", "fn main() { }")
    assert source.settled() == ["src/main.rs"]
    assert source.looks(6) == [None] * 6


def test_files_that_come_and_go_count(source):
    write(source.directory / "new/deep/a.py", "")
    assert source.settled() == ["new/deep/a.py"]
    shutil.rmtree(source.directory / "new")
    assert source.settled() == ["new/deep/a.py"]


def test_renames_and_swaps_count(source):
    src = source.directory / "src"
    write(src / "b.rs", "fn main() {}")
    assert source.settled() == ["src/b.rs"]
    os.utime(src / "b.rs", ns=(1, 1))
    os.utime(src / "main.rs", ns=(1, 1))
    assert source.settled() == ["src/b.rs", "src/main.rs"]
    (src / "b.rs").rename(src / "c.rs")
    assert source.settled() == ["src/b.rs", "src/c.rs"]
    (src / "c.rs").rename(src / "t.rs")
    (src / "main.rs").rename(src / "c.rs")
    (src / "t.rs").rename(src / "main.rs")
    assert source.settled() == ["src/c.rs", "src/main.rs"]


def test_a_file_saved_by_a_rename_counts(source):
    write(source.directory / ".main.rs.swp", "fn main() { }")
    (source.directory / ".main.rs.swp").replace(source.directory / "src/main.rs")
    assert source.settled() == ["src/main.rs"]


def test_what_links_lead_to_counts(source, tmp_path):
    write(tmp_path / "shared/helper.py", "1")
    write(tmp_path / "tree/x.py", "1")
    (source.directory / "helper.py").symlink_to(tmp_path / "shared/helper.py")
    (source.directory / "lib").symlink_to(tmp_path / "tree")
    assert source.settled() == ["helper.py", "lib/x.py"]
    write(tmp_path / "shared/helper.py", "22")
    assert source.settled() == ["helper.py"]
    write(tmp_path / "tree/x.py", "22")
    assert source.settled() == ["lib/x.py"]


@pytest.mark.parametrize("way", ["moved", "linked"])
def test_another_directory_in_place_of_the_source_counts(tmp_path, clock, way):
    write(tmp_path / "one/a.py", "1")
    write(tmp_path / "two/a.py", "2" if way == "linked" else "22")
    for version in ("one", "two"):  # as in an archive whose times are all the same
        os.utime(tmp_path / version / "a.py", ns=(1, 1))
    place = tmp_path / "place"
    if way == "linked":
        place.symlink_to("one")
    else:
        (tmp_path / "one").rename(place)
    watched = Watched(place, clock)
    assert watched.looks() == [None, None]
    if way == "linked":
        (tmp_path / "new").symlink_to("two")
        (tmp_path / "new").replace(place)
    else:
        place.rename(tmp_path / "old")
        (tmp_path / "two").rename(place)
    assert watched.settled() == ["a.py"]
    write(place / "b.py", "")
    assert watched.settled() == ["b.py"]
    watched.watch.close()


def test_many_files_that_arrive_one_by_one_are_one_change(source):
    for number in range(8):
        write(source.directory / f"{number}.py", "")
        assert source.look() is None
    assert source.settled() == [f"{number}.py" for number in range(8)]
    assert source.looks(4) == [None] * 4


def test_a_file_that_is_always_being_written_is_taken_at_last(source):
    found = []
    for number in range(8):
        write(source.directory / "src/main.rs", "x" * number)
        found.append(source.look())
    assert ["src/main.rs"] in found


def test_a_change_that_is_undone_does_not_count(source):
    write(source.directory / "new.py", "")
    source.look()
    (source.directory / "new.py").unlink()
    assert source.looks(4) == [None] * 4


def test_a_save_since_the_start_counts_at_the_first_look(tmp_path, clock):
    write(tmp_path / "a.py", "")
    watched = Watched(tmp_path, clock)
    watched.since = (tmp_path / "a.py").stat().st_ctime - 0.001
    assert watched.settled() == ["a.py"]
    watched.watch.close()


@pytest.mark.parametrize("what", ["root", "above", "directory", "file"])
def test_a_link_since_the_start_counts_at_the_first_look(tmp_path, clock, what):
    write(tmp_path / "old/deep/a.py", "")
    write(tmp_path / "new/deep/a.py", "")
    since = (tmp_path / "new/deep/a.py").stat().st_ctime
    while time.time() < since + 0.02:
        time.sleep(0.001)
    place = tmp_path / "place"
    links = {
        "root": (place, "new/deep", place),
        "above": (place, "new", place / "deep"),
        "directory": (place / "lib", "../new/deep", place),
        "file": (place / "lib.py", "../new/deep/a.py", place),
    }
    link, target, root = links[what]
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(target)
    watched = Watched(root, clock)
    watched.since = since + 0.01
    assert len(watched.settled()) == 1
    watched.watch.close()


def test_rules_that_change_do_not_restart_by_themselves(source):
    write(source.directory / ".gitignore", "x.py\n")
    write(source.directory / "x.py", "")
    assert source.looks(4) == [None] * 4


def test_what_is_wrong_is_said_once(source):
    write(source.directory / ".gitignore", "!\n")
    source.looks(6)
    (warning,) = source.warnings
    assert warning.startswith("plugin a: .gitignore: ")


def test_one_that_is_forgotten_begins_anew(source):
    assert source.watch.look({}) == ({}, [])
    write(source.directory / "src/main.rs", "changed meanwhile")
    assert source.looks(4) == [None] * 4


def test_two_plugins_of_one_source_are_both_told(source):
    other = Source("b", source.directory, ("*.rs",))
    sources = {source.source: FOREVER, other: FOREVER}
    source.watch.look(sources)
    write(source.directory / "src/main.rs", "changed")
    write(source.directory / "x.py", "")
    told = {}
    for _ in range(6):
        source.clock.now += 0.5
        for name, change in source.watch.look(sources)[0].items():
            told[name] = change.files
    assert told == {"a": ("src/main.rs", "x.py"), "b": ("x.py",)}


def test_a_look_that_is_to_stop_does_nothing(source):
    write(source.directory / "src/main.rs", "changed")
    source.watch.stop.set()
    assert source.looks(3) == [None] * 3


def test_an_idle_source_is_scanned_seldom(source, monkeypatch):
    scans = []
    tree = source.watch._trees[source.source]
    scan = tree._scanner.scan

    def counted():
        scans.append(source.clock.now)
        source.clock.now += 0.05  # how long it took
        return scan()

    monkeypatch.setattr(tree._scanner, "scan", counted)
    source.looks(40)
    assert 3 <= len(scans) <= 6
