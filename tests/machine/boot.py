"""Run tests on this machine's files under another kernel, with systemd as the first process.

    python tests/machine/boot.py TEST...
    python tests/machine/boot.py --available

Some things cannot be tried inside a container or on a foreign kernel: the controllers of cgroup v2,
and systemd itself. So QEMU boots Debian's kernel, whose root is this machine's, read-only over 9p,
under an overlay in memory; nothing in there can change anything out here. systemd then runs pytest
as a service. The exit code is pytest's, and what it prints is printed here.

Needs Debian and ``qemu-system-x86_64``; the kernel and a static busybox are downloaded as packages
and unpacked in ``.run/machine``, not installed. ``--available`` tells whether all that can be had.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".run" / "machine"
DEADLINE_S = int(os.environ.get("MACHINE_DEADLINE_S", "1500"))
# For one test, which takes up to a minute without KVM.
TIMEOUT_S = 300
NOT_TO_BE_HAD = 2
SYSTEMD = "/lib/systemd/systemd"
# Where the machine has directories of its own, in memory.
HIDDEN = ("/run", "/tmp")
MODULES = ("overlay", "virtio_pci", "9p", "9pnet_virtio")
ENDED = re.compile(r"^machine: exit (\d+)\s*$")

# Mounts this machine's root under what is written, and hands over to its systemd.
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc p /proc; mount -t sysfs s /sys; mount -t devtmpfs d /dev
for module in /modules/*; do insmod $module; done
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=524288 root /lower || poweroff -f
mount -t tmpfs u /upper; mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work o /new || poweroff -f
mount -t tmpfs r /new/run; mount -t tmpfs t /new/tmp
mkdir -p /new/run/systemd/system; cp /units/* /new/run/systemd/system/
umount /proc /sys
rm -f /new/.dockerenv  # by which systemd would know a container
exec switch_root /new /lib/systemd/systemd --unit=machine.service --show-status=no
"""
# No wish for any other unit: what this machine would start at its boot has no place in there.
# Python keeps what it has compiled, since without KVM compiling takes longer than most tests.
UNIT = """\
[Unit]
DefaultDependencies=no
# If it cannot even be started, nothing else would end the machine.
FailureAction=poweroff-force
[Service]
Type=exec
Delegate=yes
WorkingDirectory={root}
Environment=PATH={path} HOME={home} LANG=C.UTF-8 TEST_PATIENCE=4
ExecStart={python} -m pytest -p no:cacheprovider --timeout={timeout} {tests}
ExecStopPost=/bin/sh -c 'echo "machine: exit $EXIT_STATUS"; exec systemctl poweroff -ff'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
"""


def main(arguments: list[str]) -> int:
    """Boot, and return pytest's exit code."""
    qemu = shutil.which("qemu-system-x86_64")
    if qemu is None or not Path(SYSTEMD).exists():
        print("machine: it needs qemu-system-x86 and systemd; install them", file=sys.stderr)
        return NOT_TO_BE_HAD
    if hidden := next((place for place in HIDDEN if ROOT.is_relative_to(place)), None):
        print(f"machine: {ROOT} would be hidden: {hidden} is empty in there", file=sys.stderr)
        return NOT_TO_BE_HAD
    try:
        unpacked = fetch()
    except (OSError, subprocess.CalledProcessError) as error:
        print(f"machine: Debian's kernel cannot be had: {error}", file=sys.stderr)
        return NOT_TO_BE_HAD
    return 0 if arguments == ["--available"] else boot(qemu, unpacked, arguments)


def boot(qemu: str, unpacked: Path, tests: list[str]) -> int:
    """Run the tests in there."""
    image = pack(unpacked, tests)
    kernel = next(unpacked.glob("boot/vmlinuz-*"))
    return watch([qemu, *hardware(), "-kernel", str(kernel), "-initrd", str(image)])


def fetch() -> Path:
    """Have Debian's kernel and busybox, unpacked."""
    unpacked = CACHE / "x"
    if not unpacked.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        packages = [kernel_package(), "busybox-static"]
        subprocess.run(["apt-get", "download", "-qq", *packages], cwd=CACHE, check=True)
        partial = CACHE / "x.new"
        for package in CACHE.glob("*.deb"):
            subprocess.run(["dpkg-deb", "-x", str(package), str(partial)], check=True)
            package.unlink()
        subprocess.run(["/sbin/depmod", "-b", partial, release(partial)], check=True)
        partial.rename(unpacked)
    return unpacked


def kernel_package() -> str:
    """Name the package with the kernel that Debian recommends now."""
    told = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True
    )
    return re.findall(r"Depends: (linux-image-\S+)", told.stdout)[0]


def release(unpacked: Path) -> str:
    """Tell the kernel's release by its modules."""
    return next(unpacked.glob("lib/modules/*")).name


def modules(unpacked: Path) -> Iterator[Path]:
    """List the modules that are needed, each after those that it needs."""
    seen = set()
    ask = ["/sbin/modprobe", "--show-depends", "-d", str(unpacked), "-S", release(unpacked)]
    for name in MODULES:
        told = subprocess.run([*ask, name], capture_output=True, text=True, check=True).stdout
        for line in told.splitlines():
            kind, path = line.split()[:2]
            if kind == "insmod" and path not in seen:
                seen.add(path)
                yield Path(path)


def pack(unpacked: Path, tests: list[str]) -> Path:
    """Make the first root of the machine."""
    tree = CACHE / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    for name in ("bin", "proc", "sys", "dev", "lower", "upper", "new", "modules", "units"):
        (tree / name).mkdir(parents=True)
    busybox = next(unpacked.glob("**/bin/busybox"))
    shutil.copy(busybox, tree / "bin")
    for number, module in enumerate(modules(unpacked)):
        shutil.copy(module, tree / "modules" / f"{number:02}-{module.name}")
    (tree / "units" / "machine.service").write_text(
        UNIT.format(
            root=ROOT,
            path=os.environ.get("PATH", os.defpath),
            home=Path.home(),
            python=sys.executable,
            timeout=TIMEOUT_S,
            tests=shlex.join(tests),
        )
    )
    (tree / "init").write_text(INIT)
    (tree / "init").chmod(0o755)
    image = CACHE / "initrd"
    names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
    with image.open("wb") as file:
        command = [str(busybox), "cpio", "-o", "-H", "newc"]
        subprocess.run(command, input=names.encode(), stdout=file, cwd=tree, check=True)
    return image


def hardware() -> list[str]:
    """Describe the machine: no network, no disk, this one's files."""
    usable = os.access("/dev/kvm", os.W_OK) and re.search(
        r"\b(vmx|svm)\b", Path("/proc/cpuinfo").read_text()
    )
    return [
        *("-accel", "kvm" if usable else "tcg", "-cpu", "max", "-smp", "2", "-m", "3G"),
        *("-nographic", "-no-reboot", "-nic", "none"),
        *("-fsdev", "local,id=r,path=/,security_model=none,readonly=on,multidevs=remap"),
        *("-device", "virtio-9p-pci,fsdev=r,mount_tag=root"),
        *("-append", "console=ttyS0 quiet loglevel=1 panic=-1"),
    ]


def watch(command: list[str]) -> int:
    """Print what the machine prints, until it is switched off or its time is up."""
    code = NOT_TO_BE_HAD
    with subprocess.Popen(
        ["timeout", "--kill-after=5", str(DEADLINE_S), *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as machine:
        assert machine.stdout is not None
        try:
            for line in machine.stdout:
                ended = ENDED.match(line)
                if ended:
                    code = int(ended[1])
                print(line.rstrip("\r\n"), flush=True)
        finally:
            machine.terminate()  # it must not outlive us
    if machine.returncode == 124:
        print(f"machine: not done within {DEADLINE_S} s", file=sys.stderr)
    return code


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(NOT_TO_BE_HAD))
    sys.exit(main(sys.argv[1:]))
