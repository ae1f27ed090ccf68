"""What of a directory goes into a package."""

import os
from pathlib import Path

import pytest

from vconnect.errors import InstallError
from vconnect.packages.selection import select, survey

KEY = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n"


def put(directory: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files(directory: Path, *include: str) -> list[str]:
    selection = select(directory, include)
    return [str(path) for path in selection.members if (directory / path).is_file()]


def left_out(directory: Path, *include: str) -> dict[str, str]:
    return {left.path: left.reason for left in select(directory, include).left_out}


@pytest.mark.parametrize(
    "name",
    """
    .git/config .gitignore a/.gitignore .vpignore __pycache__/a.pyc a/b.pyc .venv/x venv/x
    .mypy_cache/x .pytest_cache/x .ruff_cache/x node_modules/.cache/x target/x old.vp a/old.wkp
    """.split(),
)
def test_what_is_built_in(tmp_path: Path, name: str) -> None:
    put(tmp_path, "a/kept", "node_modules/kept", "kept/target/x")
    put(tmp_path, name, text="")
    assert files(tmp_path) == ["a/kept", "kept/target/x", "node_modules/kept"]
    assert all("of the built-in rules" in reason for reason in left_out(tmp_path).values())


@pytest.mark.parametrize("name", ["._a", "a/._b/c", ".DS_Store", "__MACOSX/x"])
def test_what_macos_writes_is_not_worth_a_word(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    assert files(tmp_path) == []
    assert left_out(tmp_path) == {}


def test_gitignore_counts_at_each_level(tmp_path: Path) -> None:
    put(tmp_path, "a.log", "sub/b.log", "sub/keep.log", "sub/out/c", "out/d")
    put(tmp_path, ".gitignore", text="*.log\n")
    put(tmp_path, "sub/.gitignore", text="# built\n/out/\n!keep.log\n")
    assert files(tmp_path) == ["out/d", "sub/keep.log"]
    reasons = left_out(tmp_path)
    assert reasons["sub/b.log"] == "line 1 of .gitignore (*.log)"
    assert reasons["sub/out/"] == "line 2 of sub/.gitignore (/out/)"


def test_vpignore_wins_and_takes_back(tmp_path: Path) -> None:
    put(tmp_path, "dist/run.js", "dist/maps/run.map", "tests/t.py", "x.py", "venv/x", "deep/a/b/c")
    put(tmp_path, ".gitignore", text="dist/\n!tests/\ndeep/\n")
    put(tmp_path, ".vpignore", text="tests/\n!/dist/run.js\n!venv/\n!deep/a/b/c\n")
    assert files(tmp_path) == ["deep/a/b/c", "dist/run.js", "venv/x", "x.py"]
    reasons = left_out(tmp_path)
    assert reasons["tests/"] == "line 1 of .vpignore (tests/)"
    assert reasons["dist/maps/"] == "line 1 of .gitignore (dist/)"
    assert "dist/" not in reasons


def test_a_directory_of_which_nothing_is_taken_back_is_left_out_as_a_whole(tmp_path: Path) -> None:
    put(tmp_path, "dist/a", "dist/b/c", "run")
    put(tmp_path, ".gitignore", text="dist/\n")
    put(tmp_path, ".vpignore", text="!nothing\n")
    assert [str(path) for path in select(tmp_path).members] == ["run"]
    assert list(left_out(tmp_path)) == [".gitignore", ".vpignore", "dist/"]


@pytest.mark.parametrize(
    "name",
    """
    .env .env.local .env-prod a/.env .envrc a.pem a/b.key a.p12 .netrc
    id_rsa id_rsa.old id_work .ssh/id_ed25519 id_ed25519_sk
    credentials.json credentials-prod.json
    """.split(),
)
def test_what_is_secret_by_its_name(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    put(tmp_path, ".vpignore", text=f"!{name}\n")
    assert files(tmp_path) == []
    assert left_out(tmp_path)[name] == "looks like a secret"
    assert files(tmp_path, name) == [name]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (".env.example", "TOKEN=\n"),
        ("id_rsa.pub", "ssh-rsa AAAA"),
        ("id_generator.py", "x"),
        ("id_tools/x", "x"),
        (".env.local.example", "x"),
        ("id_work.pub", "x"),
        ("keys.md", "RWRTY0Iy is how they begin"),
        ("cacert.pem", "-----BEGIN CERTIFICATE-----\nMIIE\n"),
        (".npmrc", "save-exact=true\n"),
        ("jwt.py", "HEAD = '-----BEGIN PRIVATE KEY-----'\n"),
        ("environment.py", "x"),
    ],
)
def test_what_only_looks_like_it(tmp_path: Path, name: str, text: str) -> None:
    put(tmp_path, name, text=text)
    assert files(tmp_path) == [name]


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (".npmrc", "//registry/:_authToken=x\n", "contains a token"),
        (".pypirc", "[pypi]\npassword = x\n", "contains a token"),
        ("my.pem", KEY, "looks like a secret"),
    ],
)
def test_what_is_secret_by_name_and_contents(
    tmp_path: Path, name: str, text: str, reason: str
) -> None:
    put(tmp_path, name, text=text)
    assert left_out(tmp_path) == {name: reason}


@pytest.mark.parametrize(
    "text",
    [
        KEY,
        "-----BEGIN OPENSSH PRIVATE KEY-----\nx",
        "untrusted comment: minisign encrypted secret key\nRWRTY0Iy",
        "key = 'AKIAABCDEFGHIJKLMNOP'",
        f"token = 'ghp_{'a' * 36}'",
        f"token = 'github_pat_{'a' * 60}'",
        "RWRTY0Iy" + "a" * 204,
        "key = 'RWQAAEIy" + "a" * 204 + "'",
    ],
)
def test_a_key_in_any_file_is_an_error_with_its_remedies(tmp_path: Path, text: str) -> None:
    put(tmp_path, "src/config.py", text=text)
    with pytest.raises(InstallError, match=r"config.py: contains .*--include src/config.py"):
        select(tmp_path)
    assert files(tmp_path, "src/config.py") == ["src/config.py"]
    put(tmp_path, ".vpignore", text="config.py\n")
    assert files(tmp_path) == []


def test_an_environment_is_known_by_its_file(tmp_path: Path) -> None:
    put(tmp_path, "env39/pyvenv.cfg", "env39/lib/x", "env39/bin/y", "run")
    put(tmp_path, ".vpignore", text="!env39/lib/x\n")
    assert files(tmp_path) == ["run"]
    assert left_out(tmp_path)["env39/"] == "is a virtual environment"
    assert files(tmp_path, "env39/lib") == ["env39/lib/x", "run"]
    assert files(tmp_path, "./env39/") == ["env39/bin/y", "env39/lib/x", "env39/pyvenv.cfg", "run"]


def test_what_is_ignored_may_be_anything(tmp_path: Path) -> None:
    put(tmp_path, ".gitignore", text="link\n")
    (tmp_path / "link").symlink_to("/etc/passwd")
    assert files(tmp_path) == []
    (tmp_path / ".gitignore").unlink()
    with pytest.raises(InstallError, match="symbolic link"):
        select(tmp_path)


def test_rules_with_a_mistake_are_an_error(tmp_path: Path) -> None:
    put(tmp_path, "sub/.vpignore", text="!\n")
    with pytest.raises(InstallError, match=r"sub/.vpignore: "):
        select(tmp_path)


@pytest.mark.parametrize(
    ("path", "words"),
    [("none", "does not exist"), ("../x", "below"), ("/etc/passwd", "below"), (".", "below")],
)
def test_what_cannot_be_included(tmp_path: Path, path: str, words: str) -> None:
    with pytest.raises(InstallError, match=words):
        select(tmp_path, [path])


def test_a_survey_finds_all_that_cannot_be_packed(tmp_path: Path) -> None:
    put(tmp_path, "src/config.py", text=KEY)
    put(tmp_path, "sub/.vpignore", text="!\n")
    put(tmp_path, "/".join("d" * 40) + "/x", "run")
    (tmp_path / "link").symlink_to("run")
    os.mkfifo(tmp_path / "pipe")
    found = survey(tmp_path)
    assert [Path(fault.place).name for fault in found.faults] == [
        *("d", "link", "pipe", "config.py", tmp_path.name),
    ]
    assert Path("run") in found.members
    with pytest.raises(InstallError, match="is more than 32 directories deep"):
        select(tmp_path)
