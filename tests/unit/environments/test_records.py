"""What was installed is what the wheels have."""

from __future__ import annotations

import hashlib
import zipfile
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from tests.support.wheel_kit import make_wheel

from vconnect.environments.locked import Locked
from vconnect.environments.records import (
    check_records,
    check_wheels,
    find_wheels,
    unpacked_size,
)
from vconnect.errors import InstallError

LOCK = Locked(inputs="", versions={"lib": "1.0", "other-lib": "2"})


def test_only_what_is_locked_counts(tmp_path: Path) -> None:
    kept = [make_wheel(tmp_path, "lib", "1.0"), make_wheel(tmp_path, "other_lib", "2")]
    make_wheel(tmp_path, "lib", "2.0")
    make_wheel(tmp_path, "third", "1.0")
    (tmp_path / "odd.whl").touch()
    assert list(find_wheels([tmp_path, tmp_path / "none"], LOCK)) == kept


def test_a_file_that_was_changed_or_is_missing(tmp_path: Path) -> None:
    wheel, site = make_wheel(tmp_path / "wheels"), tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    check_records(site, [wheel])
    (site / "lib.py").write_text("import evil\n")
    with pytest.raises(InstallError, match=r"lib\.py is not what the wheel has"):
        check_records(site, [wheel])
    (site / "lib.py").unlink()
    with pytest.raises(InstallError, match=r"lib\.py was not installed"):
        check_records(site, [wheel])


def test_a_wheel_for_another_platform_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    check_records(tmp_path / "site", [make_wheel(tmp_path)])


@pytest.mark.parametrize(
    "record", ["lib.py,sha256=A,1\n", "\0", 'lib.py,"', "lib.py,sha256=\u00e9,1"]
)
def test_a_record_that_makes_no_sense(tmp_path: Path, record: str) -> None:
    wheel = tmp_path / "lib-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("lib.py", "x")
        archive.writestr("lib-1.0.dist-info/RECORD", record)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "lib.py").write_text("other")
    with suppress(InstallError):  # refused, or worth nothing
        check_records(tmp_path / "site", [wheel])


def test_sizes_are_told_before_anything_is_unpacked(tmp_path: Path) -> None:
    large = make_wheel(tmp_path, files={"large.py": "#" * 100_000})
    assert 100_000 < unpacked_size([large]) < 101_000
    (tmp_path / "no.whl").write_bytes(b"PK")
    for check in (lambda: unpacked_size([tmp_path / "no.whl"]),
                  lambda: check_records(tmp_path, [tmp_path / "no.whl"])):  # fmt: skip
        with pytest.raises(InstallError, match="is no wheel"):
            check()


def test_wheels_that_no_installation_would_take(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "lib", "1.0")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock = msgspec.structs.replace(
        LOCK, hashes=frozenset({digest}), conditional=frozenset({"other-lib"})
    )
    check_wheels(tmp_path / "none", lock)
    check_wheels(tmp_path, lock)
    with pytest.raises(InstallError, match="no wheel of other-lib"):
        check_wheels(tmp_path, msgspec.structs.replace(lock, conditional=frozenset()))
    make_wheel(tmp_path, "lib", "1.0", {"lib.py": "import evil\n"})
    with pytest.raises(InstallError, match="which the lock file does not have"):
        check_wheels(tmp_path, lock)
    wheel.write_bytes(b"PK")
    with pytest.raises(InstallError, match="is no wheel"):
        check_wheels(tmp_path, lock)
