"""An index for people: plain HTML pages, in which nothing runs."""

# Everything in them was written by the authors of packages, so all of it is escaped, and the pages
# forbid a browser to load or to run anything but this style.

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping
from html import escape as escape_html
from pathlib import Path

from vconnect.durable import read_regular, replace_file
from vconnect.errors import ConflictError
from vconnect.packages.platforms import ANY

from .document import Index, IndexedFile, IndexedPlugin, IndexedVersion

FOLDER = "plugins"
_MODE = 0o644
_MARK = '<meta name="generator" content="vconnect index">'
_STYLE = """
:root { color-scheme: light dark; --line: #d0d7de; --quiet: #57606a; --soft: #f6f8fa;
  --link: #0550ae; --warn: #9a3412; }
@media (prefers-color-scheme: dark) { :root { --line: #30363d; --quiet: #9198a1; --soft: #161b22;
  --link: #79b8ff; --warn: #f0a879; } }
body { max-width: 62rem; margin: 2rem auto; padding: 0 1rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; }
h2 { font-size: 1.1rem; margin: 1.6rem 0 .3rem; }
a { color: var(--link); }
p.quiet, footer, dt { color: var(--quiet); }
footer { margin-top: 2rem; font-size: .85rem; }
pre { background: var(--soft); border: 1px solid var(--line); border-radius: 6px;
  padding: .6rem .8rem; overflow-x: auto; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .4rem .8rem .4rem 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code { font-size: .85em; overflow-wrap: anywhere; }
em.withdrawn { color: var(--warn); font-style: normal; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .5rem 0; }
dd { margin: 0; overflow-wrap: anywhere; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEAD = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; \
style-src 'sha256-{_STYLE_HASH}'">
{_MARK}
"""
_FOOT = "</body>\n</html>\n"
# Where the mark is, in any page.
_READ_BYTES = 4096
_LARGEST = 64 << 20


def escape(text: str) -> str:
    """Escape what a browser would act on: markup, and characters that are not printable."""
    return escape_html("".join(char if char.isprintable() else ascii(char)[1:-1] for char in text))


def render(index: Index, plugins: Mapping[str, IndexedPlugin]) -> dict[str, str]:
    """Return the pages of an index by their paths, relative to it."""
    pages = {f"{FOLDER}/{name}.html": _plugin_page(name, one) for name, one in plugins.items()}
    return {"index.html": _list_page(index, plugins), **pages}


def check_pages(directory: Path, pages: Iterable[str]) -> None:
    """Refuse to write over a page that was not made here. Blocks.

    Raises:
        ConflictError: There is one.
        OSError: One of them cannot be read.
    """
    for path in (directory / name for name in pages):
        if path.exists() and not _is_ours(path):
            raise ConflictError(
                f"{path} was not made by vconnect index, and would be written over; move it away"
            )


def write_pages(directory: Path, pages: Mapping[str, str]) -> None:
    """Write pages that have changed, and remove those of plugins that are gone. Blocks.

    Raises:
        OSError: One of them cannot be written.
    """
    folder = directory / FOLDER
    for path in folder.glob("*.html") if folder.is_dir() else ():
        if f"{FOLDER}/{path.name}" not in pages and _is_ours(path):
            path.unlink()
    if len(pages) > 1 and not folder.exists():
        folder.mkdir()
    for name, text in pages.items():
        path, data = directory / name, text.encode()
        if not path.exists() or read_regular(path, _LARGEST) != data:
            replace_file(path, data, _MODE)


def _is_ours(path: Path) -> bool:
    with path.open("rb") as file:
        return _MARK.encode() in file.read(_READ_BYTES)


def _list_page(index: Index, plugins: Mapping[str, IndexedPlugin]) -> str:
    title = index.name or "Plugins"
    rows = [
        (_link(f"{FOLDER}/{name}.html", name), _latest(one), escape(one.description))
        for name, one in plugins.items()
    ]
    table = _table(("plugin", "version", "description"), rows)
    return _page(
        title,
        f'<h1>{escape(title)}</h1>\n<p class="quiet">{len(plugins)} plugins for '
        f'<a href="index.json">vconnect</a></p>\n{table}{_footer(index)}',
    )


def _footer(index: Index) -> str:
    words = [f"serial {index.serial}"]
    if index.generated is not None:
        words.append(f"generated {index.generated:%Y-%m-%d %H:%M} UTC")
    if index.expires is not None:
        words.append(f"valid until {index.expires:%Y-%m-%d}")
    return f"<footer>{' · '.join(words)}</footer>\n"


def _latest(plugin: IndexedPlugin) -> str:
    version = plugin.latest()
    return escape(version.version) if version is not None else ""


def _plugin_page(name: str, plugin: IndexedPlugin) -> str:
    also = f'<p class="quiet">also called {escape(", ".join(plugin.aliases))}</p>\n'
    versions = "".join(map(_section, plugin.versions))
    return _page(
        name,
        f'<p><a href="../index.html">all plugins</a></p>\n<h1>{escape(name)}</h1>\n'
        f"{also if plugin.aliases else ''}<p>{escape(plugin.description)}</p>\n"
        f"<pre>vconnect install {escape(name)}</pre>\n{versions}",
    )


def _section(version: IndexedVersion) -> str:
    """Return what a page says of one version."""
    withdrawn = ""
    if version.yanked is not None:
        withdrawn = f' <em class="withdrawn">withdrawn: {escape(version.yanked)}</em>'
    fields = {
        "asks for": version.permissions,
        "requires": version.requires,
        "interface": version.interface,
        "needs vconnect": (version.min_host_version,) if version.min_host_version else (),
    }
    details = "".join(
        f"<dt>{label}</dt><dd>{escape(', '.join(values))}</dd>"
        for label, values in fields.items()
        if values
    )
    table = _table(("platform", "file", "#bytes", "sha256"), map(_cells, version.files))
    return (
        f"<h2>{escape(version.version)}{withdrawn}</h2>\n"
        f"{f'<dl>{details}</dl>' if details else ''}{table}"
    )


def _cells(file: IndexedFile) -> Iterable[str]:
    name = file.url.rpartition("/")[2]
    link = _link(f"../{file.url}", name)
    if file.signature:
        link += f" ({_link(f'../{file.signature}', 'signature')})"
    platform = "any" if file.platform == ANY else escape(file.platform)
    return platform, link, str(file.size), f"<code>{escape(file.sha256)}</code>"


def _link(url: str, text: str) -> str:
    return f'<a href="{escape(url)}">{escape(text)}</a>'


def _table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; a heading that begins with # is one of numbers."""
    classes = [' class="number"' if one.startswith("#") else "" for one in headings]
    cells = [
        f"<th{kind}>{one.lstrip('#')}</th>" for kind, one in zip(classes, headings, strict=True)
    ]
    lines = ['<div class="wide"><table>', f"<tr>{''.join(cells)}</tr>"]
    for row in rows:
        cells = [f"<td{kind}>{cell}</td>" for kind, cell in zip(classes, row, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return "\n".join([*lines, "</table></div>\n"])


def _page(title: str, body: str) -> str:
    head = f"{_HEAD}<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
    return head + body + _FOOT
