"""What the pages say is held to the code: links, blocks, commands, codes, the example in hex."""

from __future__ import annotations

import ast
import asyncio
import json
import pkgutil
import re
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vconnect
from vconnect import errors
from vconnect._framing import HEADER_BYTES, FrameDecoder, encode_frame, parse_message
from vconnect.cli.root import root
from vconnect.packages.manifest import Manifest
from vconnect.sdk.testing import call
from vconnect.settings.load import load_settings
from vconnect.wire.messages import (
    ERROR_CODES,
    NativeTerms,
    acknowledgment,
    encode_event,
    normalize_answer,
    ok_reply,
    parse_call,
    parse_handshake,
)

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for pattern in ("*.md", "docs/**/*.md", "examples/*/*.md")
    for path in sorted(ROOT.glob(pattern))
}
WIRE = PAGES["docs/wire.md"]
SOURCES = [*ROOT.glob("src/vconnect/**/*.py"), *ROOT.glob("src/vconnect/**/*.pyx")]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:`|\$ )(?:\.venv/bin/)?vconnect(?: --\w+(?: [A-Z]+)?)* ([a-z]+)")
SHELL_LINE = re.compile(r"^vconnect ([a-z]+)", re.MULTILINE)
RAISED = re.compile(r'(?:HandshakeError|RemoteProtocolError|_refuse)\(\s*"([a-z_]+)"')


def blocks(*languages: str) -> Iterator[object]:
    """Yield every code block in one of ``languages``, each named after its page and line."""
    for page, text in PAGES.items():
        for match in FENCE.finditer(text):
            if match[1] in languages:
                line = text.count("\n", 0, match.start()) + 1
                yield pytest.param(match[2], id=f"{page}:{line}")


def links() -> Iterator[object]:
    """Yield every link that stays in the repository, with the page that it is on."""
    for page, text in PAGES.items():
        for target in LINK.findall(FENCE.sub("", text)):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page} -> {target}")


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, by the rule of those who show Markdown."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize(("page", "target"), [*links()])
def test_every_link_leads_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    name = Path(file).resolve().relative_to(ROOT.resolve()).as_posix()
    assert file.exists()
    if anchor:
        assert anchor in anchors(PAGES[name])


def test_the_index_names_every_page() -> None:
    targets = {target for target in LINK.findall(PAGES["docs/README.md"]) if ".." not in target}
    docs = ROOT / "docs"
    assert targets == {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")} - {
        "README.md"
    }


def test_the_site_shows_every_page() -> None:
    shown = re.findall(
        r"^ +- (?:[^:\n]+: )?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M
    )
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    assert pages <= set(shown)


def test_the_reference_shows_every_public_name() -> None:
    shown = set()
    for page, text in PAGES.items():
        if page.startswith("docs/api/"):
            shown |= set(re.findall(r"^::: ([\w.]+)$", text, re.MULTILINE))
    classes = {f"vconnect.{name}" for name in vconnect.__all__ if name != "__version__"}
    in_a_module = {name for name in classes if hasattr(errors, name.rpartition(".")[2])}
    assert classes - in_a_module <= shown
    assert {"vconnect.errors", "vconnect.sdk.testing"} <= shown
    for name in shown:
        assert pkgutil.resolve_name(name) is not None


# How it is installed. The name on the public index belongs to another project's package.

FROM_AN_INDEX = re.compile(
    r"\b(?:pip3?|pipx|uv|poetry|pdm) (?:tool )?(?:install|add)\b([^`\n\"#]*)"
)
DISTRIBUTION = re.compile(r"(?<![\w./-])vconnect(?![\w./-])")


def texts_for_users() -> Iterator[object]:
    """Yield every page, every source file with help and messages, and every template."""
    patterns = ["*.md", "docs/**/*.md", "setup.py", "src/**/*.py", "src/**/*.tmpl", "src/**/*.rs"]
    patterns += ["examples/**/*.md", "examples/**/*.py", "examples/**/*.rs"]
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            yield pytest.param(path, id=path.relative_to(ROOT).as_posix())


@pytest.mark.parametrize("path", [*texts_for_users()])
def test_nothing_says_to_install_it_from_an_index(path: Path) -> None:
    for arguments in FROM_AN_INDEX.findall(path.read_text(encoding="utf-8")):
        assert not DISTRIBUTION.search(arguments), arguments


@pytest.mark.parametrize(
    ("line", "is_from_an_index"),
    [
        ("pip install vconnect", True),
        ("pip install -U 'vconnect>=1'", True),
        ("/opt/v/bin/pip install --only-binary vconnect vconnect", True),
        ("uv tool install vconnect", True),
        ("pip install .", False),
        ("pip install ./vconnect-*.whl", False),
        ("pip install /src/vconnect", False),
    ],
)
def test_an_installation_from_an_index_is_found(line: str, is_from_an_index: bool) -> None:
    (arguments,) = FROM_AN_INDEX.findall(line)
    assert (DISTRIBUTION.search(arguments) is not None) == is_from_an_index


@pytest.mark.parametrize("block", [*blocks("json")])
def test_every_json_block_is_json(block: str) -> None:
    json.loads(block)


@pytest.mark.parametrize("block", [*blocks("toml")])
def test_every_toml_block_is_toml(block: str) -> None:
    tomllib.loads(block)


@pytest.mark.parametrize("block", [*blocks("toml")])
def test_every_toml_block_is_a_configuration(block: str, tmp_path: Path) -> None:
    file = tmp_path / "vconnect.toml"
    file.write_text(block)
    assert load_settings(file) != load_settings()


@pytest.mark.parametrize("block", [*blocks("python")])
def test_every_python_block_is_python(block: str) -> None:
    ast.parse(textwrap.dedent(block))


def test_every_fence_is_closed_and_names_its_language() -> None:
    for page, text in PAGES.items():
        assert "```" not in FENCE.sub("", text), page
        assert all(match[1] for match in FENCE.finditer(text)), page


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    shell = "".join(match[2] for match in FENCE.finditer(PAGES[page]) if match[1] == "sh")
    named = {*COMMAND.findall(PAGES[page]), *SHELL_LINE.findall(shell)}
    assert named <= set(root.places)


def test_the_pages_do_name_commands() -> None:
    assert {"serve", "emit", "list", "pack"} <= set(COMMAND.findall(PAGES["README.md"]))


def test_every_make_target_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, text in PAGES.items():
        named = re.findall(r"(?:`|\$ )make ([a-z-]+)", text)
        assert set(named) <= targets, page


def test_the_first_plugin_of_the_front_page_greets() -> None:
    block = next(match[2] for match in FENCE.finditer(PAGES["README.md"]) if match[1] == "python")
    names: dict[str, Any] = {"__name__": "plugin"}
    exec(compile(block, "README.md", "exec"), names)
    answer = asyncio.run(call(names["Greeter"], "message.incoming", {"from_uid": "ada"}))
    assert answer == {"status": "ok", "data": {"type": 1, "content": "hello, ada"}}


def test_the_program_of_the_page_on_embedding_prints_what_it_says() -> None:
    page = PAGES["docs/embedding.md"].partition("\n## Life cycle\n")[0]
    program, plugin, manifest, printed = (match[2] for match in FENCE.finditer(page))
    with tempfile.TemporaryDirectory(prefix="vc-", dir="/tmp") as made:  # sockets' paths are short
        directory = Path(made).resolve()
        (directory / "greeter").mkdir()
        (directory / "program.py").write_text(program)
        (directory / "greeter" / "plugin.py").write_text(plugin)
        (directory / "greeter" / "plugin.json").write_text(manifest)
        ended = subprocess.run(
            [sys.executable, "program.py"],
            cwd=directory,
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == printed


@pytest.mark.parametrize("field", [*Manifest.__struct_fields__])
def test_every_key_of_a_manifest_is_documented(field: str) -> None:
    section = PAGES["docs/plugin-authors.md"].partition("\n## Packing and installing\n")[2]
    documented = set(re.findall(r"`(\w+)`", section.partition("\n## ")[0]))
    assert field in documented or field == "raw"


def test_the_layers_are_those_that_the_linter_holds() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = settings["tool"]["importlinter"]["contracts"][0]
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \|", PAGES["docs/architecture.md"], re.MULTILINE)
    held = [re.findall(r"\w+", layer) for layer in reversed(contract["layers"])]
    assert [(int(number), re.findall(r"\w+", names)) for number, names in rows] == [
        *enumerate(held)
    ]


def test_the_sdk_may_import_only_the_wire_of_all_folders() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = settings["tool"]["importlinter"]["contracts"]
    (contract,) = [one for one in contracts if one.get("source_modules") == ["vconnect.sdk"]]
    folders = {path.parent.name for path in ROOT.glob("src/vconnect/*/__init__.py")}
    forbidden = {name.removeprefix("vconnect.") for name in contract["forbidden_modules"]}
    assert folders - forbidden == {"sdk", "wire"}


def test_every_module_that_the_page_on_the_layout_names_exists() -> None:
    text = FENCE.sub("", PAGES["docs/architecture.md"])
    folders = {path.parent.name for path in ROOT.glob("src/vconnect/*/__init__.py")}
    named = re.findall(r"`((?:\w+)(?:\.\w+)+)`", text)
    paths = [name for name in named if name.partition(".")[0] in folders]
    assert len(paths) > 20
    for path in paths:
        assert pkgutil.resolve_name(f"vconnect.{path}") is not None


# The wire.


def wire_codes() -> set[str]:
    """Every code that a peer or a caller may see, from docstrings, raises and class attributes."""
    told = f"{errors.RemoteProtocolError.__doc__}{errors.HandshakeError.__doc__}"
    codes = set(re.findall(r"``([a-z_]+)``", told))
    for source in SOURCES:
        codes |= set(RAISED.findall(source.read_text(encoding="utf-8")))
    root = errors.PluginError
    return codes | ERROR_CODES | {root.code} | {kind.code for kind in root.__subclasses__()}


@pytest.mark.parametrize("code", sorted(wire_codes()))
def test_every_code_is_documented(code: str) -> None:
    assert re.search(rf"^\| `{code}` \| ", WIRE, re.MULTILINE)


def test_every_documented_code_exists() -> None:
    section = WIRE.partition("\n## Error codes\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z_]+)` ", section, re.MULTILINE)) == wire_codes()


def test_every_raised_handshake_code_is_told_where_it_is_raised() -> None:
    told = f"{errors.RemoteProtocolError.__doc__}{errors.HandshakeError.__doc__}"
    for source in SOURCES:
        for code in RAISED.findall(source.read_text(encoding="utf-8")):
            assert f"``{code}``" in told, (source.name, code)


def hex_frames(heading: str) -> list[bytes]:
    """The frames of one of the page's examples, from the left column of its dumps."""
    section = WIRE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    dumps = [match[2] for match in FENCE.finditer(section)]
    for line in "".join(dumps).splitlines():
        data = bytes.fromhex(line[:47])
        shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)
        assert line[47:].strip() == shown
    frames = [bytes.fromhex("".join(line[:47] for line in dump.splitlines())) for dump in dumps]
    lengths = re.findall(r", 0x([0-9a-f]+) = (\d+) bytes", section)
    assert [(int(hexadecimal, 16), int(decimal)) for hexadecimal, decimal in lengths] == [
        (len(frame) - HEADER_BYTES,) * 2 for frame in frames
    ]
    return frames


def test_the_conversation_in_hex_is_what_the_code_makes() -> None:
    frames = hex_frames("A whole conversation in hex")
    hello, welcome, event, answer = map(parse_message, FrameDecoder().feed(b"".join(frames)))
    handshake = parse_handshake(hello)
    assert (handshake.plugin, handshake.capabilities) == ("echo", ("message",))
    assert frames[1] == encode_frame(acknowledgment({}))
    assert frames[2] == encode_event(event["event"], event["payload"], 1024).classic_frame
    assert normalize_answer(answer).data == {"content": "HI"}
    assert welcome == {"status": "ok", "config": {}}


def test_the_native_conversation_in_hex_is_what_the_code_makes() -> None:
    frames = hex_frames("A native conversation in hex")
    messages = [parse_message(payload) for payload in FrameDecoder().feed(b"".join(frames))]
    hello, welcome, event, call, _, answer, told = messages
    handshake = parse_handshake(hello)
    assert (handshake.plugin, handshake.protocol_version) == ("echo", 1)
    terms = {key: welcome[key] for key in NativeTerms.__struct_fields__ if key in welcome}
    assert frames[1] == encode_frame(acknowledgment({}, NativeTerms(**terms)))
    asked = encode_event(event["event"], event["payload"], 1024)
    assert frames[2] == asked.native_frame(event["id"], event["deadline_ms"])
    asks = parse_call(call)
    assert (asks.id, asks.call, asks.params["plugin"]) == (1, "plugin.call", "shout")
    assert frames[4] == encode_frame(ok_reply(asks.id, "HI"))
    assert (answer["id"], normalize_answer(answer).data) == (event["id"], {"content": "HI"})
    assert frames[6] == encode_event(told["event"], told["payload"], 1024).native_frame(0, 0)


@pytest.mark.parametrize("page", PAGES)
def test_prose_fits_into_120_columns(page: str) -> None:
    lines = FENCE.sub("", PAGES[page]).splitlines()
    assert not [line for line in lines if len(line) > 120 and not line.startswith("|")]
