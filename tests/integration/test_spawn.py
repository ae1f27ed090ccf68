"""The compiled way to start a process, inside a cgroup or not, with real processes."""

from __future__ import annotations

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.support.cgroup_kit import needs_cgroups

from vconnect.processes._spawn import can_spawn_into, candidates, spawn_into
from vconnect.processes.cgroup_tree import CgroupTree
from vconnect.settings.limits import TreeLimits
from vconnect.settings.model import Settings
from vconnect.settings.parts import CgroupSettings

DEV_NULL = Path(os.devnull)
HERE = {"PATH": "/usr/bin:/bin", "WORD": "ünder"}


class Place:
    """A cgroup, open, or none at all; with somewhere for what is printed."""

    def __init__(self, path: Path | None, directory: Path) -> None:
        self._path = path
        self.directory = directory
        self.descriptor = -1 if path is None else os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def path(self) -> Path:
        assert self._path is not None
        return self._path

    def spawn(self, *argv: str, directory: Path | None = None, privileges: bool = True) -> int:
        with DEV_NULL.open("r+b") as nothing, (self.directory / "out").open("wb") as out:
            return spawn_into(
                *(self.descriptor, argv, directory or self.directory, HERE),
                *(nothing.fileno(), out.fileno(), out.fileno(), not privileges),
            )

    def output(self, *argv: str, directory: Path | None = None, privileges: bool = True) -> str:
        pid = self.spawn(*argv, directory=directory, privileges=privileges)
        assert os.waitpid(pid, 0) == (pid, 0)
        return (self.directory / "out").read_text()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    tree = CgroupTree(Settings(cgroup="on").part(CgroupSettings), str(tmp_path / "host.sock"))
    tree.open()
    cgroup = tree.make("any", 1, TreeLimits())
    assert cgroup is not None
    made = Place(cgroup.path, tmp_path)
    try:
        yield made
    finally:
        os.close(made.descriptor)
        cgroup.end()
        tree.close()


@pytest.fixture(params=["none", pytest.param("cgroup", marks=needs_cgroups)])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """With a cgroup and without one."""
    if request.param == "none":
        return Place(None, tmp_path)
    made: Place = request.getfixturevalue("place")
    return made


@needs_cgroups
def test_it_is_in_the_cgroup_from_its_first_instruction(place: Place) -> None:
    line = place.output("sh", "-c", "while read x; do echo $x; done < /proc/self/cgroup")
    own = next(line for line in line.splitlines() if line.startswith("0::"))
    assert own.endswith(f"/{place.path.parent.name}/any.1")


def test_it_leads_a_session_where_it_was_told_to(anywhere: Place) -> None:
    pid = anywhere.spawn("sleep", "60")
    try:
        assert (os.getsid(pid), os.getpgid(pid)) == (pid, pid)
        assert Path(f"/proc/{pid}/cwd").readlink() == anywhere.directory
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_it_has_its_own_environment_and_three_descriptors(anywhere: Place) -> None:
    with DEV_NULL.open() as kept:
        os.set_inheritable(kept.fileno(), True)
        told = anywhere.output(
            sys.executable, "-c", "import os; print(os.listdir('/proc/self/fd'))"
        )
    assert told.strip() == "['0', '1', '2', '3']"  # the last is the listing's own
    assert anywhere.output("env").splitlines() == ["PATH=/usr/bin:/bin", "WORD=ünder"]


def test_signals_are_as_a_program_expects_them(anywhere: Place) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
    try:
        status = anywhere.output("cat", "/proc/self/status")
        ours = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
        signal.signal(signal.SIGHUP, ignored)
        signal.signal(signal.SIGUSR1, before)
    fields = dict(line.split(":\t") for line in status.splitlines() if line.startswith("Sig"))
    # Nothing of ours: neither what is handled or ignored here, nor what is blocked.
    assert [int(fields[key], 16) for key in ("SigCgt", "SigIgn", "SigBlk")] == [0, 0, 0]
    assert signal.SIGUSR2 in ours  # and here the mask has come back


@pytest.mark.parametrize("privileges", [True, False])
def test_it_may_lose_all_new_privileges(anywhere: Place, privileges: bool) -> None:
    status = anywhere.output("cat", "/proc/self/status", privileges=privileges)
    ours = Path("/proc/thread-self/status").read_text().partition("NoNewPrivs:\t")[2][0]
    assert status.partition("NoNewPrivs:\t")[2][0] == (ours if privileges else "1")


@pytest.mark.parametrize(
    ("argv", "number"),
    [
        (["/no/such/program"], errno.ENOENT),
        (["no-such-program"], errno.ENOENT),
        (["/tmp"], errno.EACCES),
        (["/etc/passwd"], errno.EACCES),
        (["./garbage"], errno.ENOEXEC),
        (["./orphan"], errno.ENOENT),
        (["true", "x" * (3 << 20)], errno.E2BIG),
    ],
)
def test_what_cannot_be_executed_is_told_as_subprocess_does(
    anywhere: Place, argv: list[str], number: int
) -> None:
    for name, content in (("garbage", "\0\1\2"), ("orphan", "#!/no/such/interpreter\n")):
        (anywhere.directory / name).write_text(content)
        (anywhere.directory / name).chmod(0o755)
    with pytest.raises(OSError) as caught:
        anywhere.spawn(*argv)
    with pytest.raises(OSError) as expected:
        subprocess.run(argv, cwd=anywhere.directory, env=HERE, check=False)
    assert (caught.value.errno, caught.value.filename) == (number, argv[0])
    assert type(caught.value) is type(expected.value)
    assert caught.value.strerror == expected.value.strerror


def test_a_missing_directory_is_named(anywhere: Place) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        anywhere.spawn("true", directory=anywhere.directory / "gone")
    assert caught.value.filename == str(anywhere.directory / "gone")


def test_a_zero_byte_is_refused_before_anything_starts(anywhere: Place) -> None:
    with pytest.raises(ValueError, match="embedded null byte"):
        anywhere.spawn("true", "a\0b")


@needs_cgroups
def test_a_removed_cgroup_takes_nobody_in(place: Place) -> None:
    place.path.rmdir()
    with pytest.raises(FileNotFoundError) as caught:
        place.spawn("true")
    assert caught.value.filename is None


@needs_cgroups
def test_a_host_without_standard_descriptors_can_start_too(place: Place) -> None:
    """The pipes that it opens then have the numbers 0 to 2, in each other's way."""
    code = (
        "import os, sys\n"
        "from vconnect.processes._spawn import spawn_into\n"
        "os.close(0); os.close(1)\n"
        "cgroup, out = int(sys.argv[1]), sys.argv[2]\n"
        "one = os.open(out, os.O_WRONLY | os.O_CREAT)\n"  # 0
        "nothing = os.open(os.devnull, os.O_RDONLY)\n"  # 1
        "argv = ['sh', '-c', 'echo said; echo too >&2; cat']\n"
        "pid = spawn_into(cgroup, argv, '/', {'PATH': '/bin:/usr/bin'}, nothing, one, one, False)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    os.set_inheritable(place.descriptor, True)
    done = subprocess.run(
        [sys.executable, "-c", code, str(place.descriptor), str(place.directory / "told")],
        close_fds=False,
        check=False,
    )
    assert done.returncode == 0
    assert (place.directory / "told").read_text() == "said\ntoo\n"


def test_many_threads_start_at_once(anywhere: Place) -> None:
    def run(_: int) -> int:
        with DEV_NULL.open("r+b") as nothing:
            number = nothing.fileno()
            pid = spawn_into(
                anywhere.descriptor, ["true"], "/", HERE, number, number, number, False
            )
        return os.waitpid(pid, 0)[1]

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(run, range(400))) == {0}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has cgroups")
def test_what_is_no_cgroup_takes_nobody_in() -> None:
    with tempfile.TemporaryFile() as file:
        assert can_spawn_into(file.fileno()) in (errno.EBADF, errno.ENOSYS)


def test_a_path_is_taken_as_it_is_and_a_name_is_looked_up() -> None:
    assert candidates("./here", HERE) == ["./here"]
    assert candidates("here", HERE) == ["/usr/bin/here", "/bin/here"]


@pytest.mark.parametrize("wanted", [-1, 100])
def test_it_may_have_another_limit_on_descriptors(anywhere: Place, wanted: int) -> None:
    ours = resource.getrlimit(resource.RLIMIT_NOFILE)
    with DEV_NULL.open("r+b") as nothing, (anywhere.directory / "out").open("wb") as out:
        command = ["sh", "-c", "ulimit -Sn; ulimit -Hn"]
        zero, one = nothing.fileno(), out.fileno()
        pid = spawn_into(
            anywhere.descriptor,
            command,
            anywhere.directory,
            HERE,
            zero,
            one,
            one,
            False,
            descriptors=wanted,
        )
    assert os.waitpid(pid, 0) == (pid, 0)
    told = [int(line) for line in (anywhere.directory / "out").read_text().split()]
    assert told == [ours[0] if wanted < 0 else wanted, ours[1]]
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == ours


@needs_cgroups
@pytest.mark.parametrize("low", [False, True])
def test_a_descriptor_that_is_held_is_the_only_other_one(place: Place, low: bool) -> None:
    """It becomes descriptor 3, whatever it was; and also if it was that."""
    code = (
        "import os, sys\n"
        "from vconnect.processes._spawn import spawn_into\n"
        "cgroup, null = int(sys.argv[1]), os.open(os.devnull, os.O_RDWR)\n"
        "out = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)\n"
        "held = os.open(sys.argv[3], os.O_RDONLY)\n"
        "if sys.argv[4] == 'True':\n"
        "    os.dup2(held, 3, inheritable=False); held = 3\n"
        "argv = ['sh', '-c', 'readlink /proc/$$/fd/3; ls /proc/$$/fd | tr -d \"\\\\n\"']\n"
        "pid = spawn_into(cgroup, argv, '/', dict(os.environ), null, out, out, False, held)\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    # High, so that 3 can be taken for something else.
    high = fcntl.fcntl(place.descriptor, fcntl.F_DUPFD, 20)
    try:
        os.set_inheritable(high, True)
        told, lock = place.directory / "told", place.directory / "lock"
        lock.touch()
        done = subprocess.run(
            [sys.executable, "-c", code, str(high), str(told), str(lock), str(low)],
            pass_fds=(high,),
            check=False,
        )
    finally:
        os.close(high)
    assert done.returncode == 0
    path, numbers = told.read_text().splitlines()
    assert path == str(lock)
    assert numbers.startswith("0123")
    assert len(numbers) <= 5  # the shell may have one of its own


@pytest.mark.parametrize("numbers", [(3, 4), (4, 3), (-1, 3), (-1, 4), (4, -1), (7, 8)])
def test_two_descriptors_are_kept_whatever_they_were(
    tmp_path: Path, numbers: tuple[int, int]
) -> None:
    """The one that is held becomes 3, the one that is read becomes 4."""
    code = (
        "import os, sys\n"
        "from vconnect.processes._spawn import spawn_into\n"
        "directory, *numbers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
        "def place(name, number):\n"
        "    one = os.open(f'{directory}/{name}', os.O_RDWR | os.O_CREAT)\n"
        "    high = os.dup2(one, number + 100, inheritable=False)\n"
        "    os.close(one)\n"
        "    return high\n"
        "null, out = place('null', 1), place('told', 2)\n"
        "high = [place(name, number) if number >= 0 else -1\n"
        "        for name, number in zip(('held', 'read'), numbers)]\n"
        "for number, one in zip(numbers, high):\n"
        "    if one >= 0:\n"
        "        os.dup2(one, number, inheritable=False)\n"
        "argv = ['sh', '-c', 'for i in 3 4 5 6 7; do readlink /proc/$$/fd/$i || echo none; done']\n"
        "pid = spawn_into(-1, argv, '/', dict(os.environ), null, out, out, False, numbers[0],\n"
        "                 read=numbers[1])\n"
        "sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), *map(str, numbers)], check=False
    )
    assert done.returncode == 0
    held, read = numbers
    assert (tmp_path / "told").read_text().splitlines() == [
        str(tmp_path / "held") if held >= 0 else "none",
        str(tmp_path / "read") if read >= 0 else "none",
        *["none"] * 3,
    ]
