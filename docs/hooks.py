"""Pages of the site that are elsewhere in the repository, and links to what is not on it."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]

# By path in the repository: the page of the site that shows it.
ELSEWHERE = {
    "README.md": "start.md",
    "CONTRIBUTING.md": "contributing.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
} | {
    f"examples/{path.parent.name}/README.md": f"examples/{path.parent.name}.md"
    for path in ROOT.glob("examples/*/README.md")
}

_ORIGIN = {page: path for path, page in ELSEWHERE.items()}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are outside of ``docs``."""
    for path, page in ELSEWHERE.items():
        content = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: MkDocsConfig) -> str:
    """Lead the links of the repository to the site's pages; one to anything else is only text."""
    here = page.file.src_uri
    directory = posixpath.dirname(_ORIGIN.get(here, f"docs/{here}"))

    def lead(match: re.Match[str]) -> str:
        text, (target, _, anchor) = match[1], match[2].partition("#")
        if "://" in target or not target:
            return match[0]
        path = posixpath.normpath(posixpath.join(directory, target))
        uri = _page_of(path)
        if files.get_file_from_path(uri) is None:
            return text
        relative = posixpath.relpath(uri, posixpath.dirname(here) or ".")
        return f"[{text}]({relative}{'#' if anchor else ''}{anchor})"

    parts = re.split(r"(^```.*?^```$)", markdown, flags=re.MULTILINE | re.DOTALL)
    return "".join(part if part.startswith("```") else _LINK.sub(lead, part) for part in parts)


def _page_of(path: str) -> str:
    """The page of the site that shows a file or a directory of the repository."""
    for shown in (path, f"{path}/README.md"):
        if shown in ELSEWHERE:
            return ELSEWHERE[shown]
    return path.removeprefix("docs/")
