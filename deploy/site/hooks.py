"""What mkdocs cannot do by itself; `mkdocs.yml` names this file, and `make docs` runs it.

- The documentation links to files beside `docs/`, as GitHub shows them. The site has a page for each of these.
- The README is the site's first page.
- `folder/*.md` in the navigation stands for all pages of the folder that are not named elsewhere in it.
- Diagrams are drawn while the site is built: no script of another server is needed to see them.
- Each language has a search index of its own, also in a site that is opened as a file.
"""

import base64
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import mmdr
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from pymdownx.slugs import slugify

ROOT = Path(__file__).parents[2]
#: Where pages made of files beside `docs/` are.
SOURCE = Path("source")
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)\s#]+)")
#: What a file's page is highlighted as, where that is not the end of its name.
LANGUAGES = {".service": "ini", ".acl": "text", ".conf": "text", ".env": "shell", ".py": "python"}
#: Bytes of the longest file that is shown as a page.
LONGEST = 64 * 1024
#: What a browser would fetch from another server, by the kind of file that says so.
FOREIGN = {
    ".html": re.compile(
        r"<(?:script|link|img|iframe|source|video)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^>]*>"
    ),
    ".css": re.compile(r"(?:@import\s+|url\()[\"']?(?:https?:)?//[^)\"';]*"),
}
#: How the suffix of a translation begins; a page without one is English.
TRANSLATION = re.compile(r"\.nl\.md$")
#: Where the pages of the other language are.
DUTCH = "nl/"
#: What stands before a page's title for whoever changes it; mkdocs would take the file's name for the title.
NOTE = re.compile(r"\A(?:<!--.*?-->\s*)+", re.DOTALL)
#: What leads from a README to its translation; the site has a menu for that.
OTHER_LANGUAGE = re.compile(r"^\*\[(?:Nederlands|English)\]\(README\S*\)\*\n\n", re.MULTILINE)
HEADING = re.compile(r"^(#{2,6}) (.+)$", re.MULTILINE)
#: How a page tells its scripts where the site begins.
BASE = re.compile(r'"base": "\.\.(?:/(\.\.(?:/\.\.)*))?"')
#: The grey that is drawn behind the words of an arrow.
LABEL_PAPER = "hsl(-120, 0%, 80%)"

_staged: "tempfile.TemporaryDirectory[str] | None" = None


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Before anything is read: bring all pages together in one folder, once for all languages."""
    global _staged  # noqa: PLW0603  # mkdocs calls functions of a module, and i18n builds once for each language
    if _staged is None:
        _staged = tempfile.TemporaryDirectory(prefix="ingest-docs-")
        Pages(Path(_staged.name)).stage()
        config.docs_dir = _staged.name
        names = sorted(str(page.relative_to(_staged.name)) for page in Path(_staged.name).rglob("*.md"))
        config.nav = expanded(config.nav, [name for name in names if not TRANSLATION.search(name)])
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [
        {"name": "mermaid", "class": "diagram", "format": drawn}
    ]
    return config


def on_post_page(output: str, page: Any, config: MkDocsConfig) -> str:
    """Tell the scripts of a Dutch page that the site begins at `nl/`, where the index that they search is."""
    if not page.url.startswith(DUTCH):
        return output
    moved, found = BASE.subn(lambda base: f'"base": "{base[1] or "."}"', output)
    if found != 1:
        raise PluginError(f"{page.url} does not tell where the site begins")
    return moved


@event_priority(-200)  # type: ignore[untyped-decorator, unused-ignore]  # where mkdocs is not installed
def on_post_build(config: MkDocsConfig) -> None:
    """Give each language its search index, and fail if a page would fetch anything from another server.

    Runs last: i18n builds the other languages, and collects what is searched, in its own `on_post_build`.
    """
    write_indexes(Path(config.site_dir))
    for file in Path(config.site_dir).rglob("*"):
        foreign = FOREIGN.get(file.suffix)
        if foreign and (found := foreign.search(file.read_text("utf-8"))):
            raise PluginError(f"{file.relative_to(config.site_dir)} fetches from another server: {found[0]}")


def write_indexes(site: Path) -> None:
    """Divide the index of all pages: one for each language, as JSON, and as a script for a site that is a file."""
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    entries: dict[str, list[dict[str, Any]]] = {"": [], DUTCH: []}
    for entry in index["docs"]:
        folder = DUTCH if entry["location"].startswith(DUTCH) else ""
        entries[folder].append({**entry, "location": entry["location"].removeprefix(folder)})
    for folder, docs in entries.items():
        text = json.dumps({**index, "docs": docs}, ensure_ascii=False)
        (site / folder / "search").mkdir(parents=True, exist_ok=True)
        (site / folder / "search" / "search_index.json").write_text(text, "utf-8")
        (site / folder / "search" / "search_index.js").write_text(f"var __index = {text}", "utf-8")


class Pages:
    """The folder that the site is made of."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: set[Path] = set()

    def stage(self) -> None:
        """Copy `docs/`, and make a page of each file that it links to."""
        shutil.copytree(ROOT / "docs", self.folder, dirs_exist_ok=True)
        for page in sorted((ROOT / "docs").rglob("*.md")):
            self._write(page, self.folder / page.relative_to(ROOT / "docs"))
        for page in sorted(ROOT.glob("README*.md")):
            self._write(page, self.folder / page.name.replace("README", "index"))
        for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"):
            self._page_of(ROOT / name)

    def _write(self, page: Path, target: Path) -> None:
        """A page with its links leading to where their targets are in this folder."""

        def moved(found: re.Match[str]) -> str:
            linked = (page.parent / found[1]).resolve()
            if not linked.exists():
                raise PluginError(f"{page.relative_to(ROOT)} links to {found[1]}, which is not there")
            return os.path.relpath(self._page_of(linked), target.parent)

        target.parent.mkdir(parents=True, exist_ok=True)
        text = OTHER_LANGUAGE.sub("", NOTE.sub("", page.read_text("utf-8")))
        english = page.with_name(page.name.replace(".nl.md", ".md"))
        if english != page and english.exists():
            text = _with_anchors_of(english.read_text("utf-8"), text)
        target.write_text("".join(_outside_code(text, lambda part: LINK.sub(moved, part))), "utf-8")

    def _page_of(self, linked: Path) -> Path:
        """Where the site has this file or folder; its page is made when it is first linked to."""
        if linked.is_relative_to(ROOT / "docs"):
            return self.folder / linked.relative_to(ROOT / "docs")
        path = linked.relative_to(ROOT)
        if re.fullmatch(r"README(\.\w\w)?\.md", str(path)):
            return self.folder / path.name.replace("README", "index")
        if linked.is_dir():
            if (linked / "README.md").exists():
                return self._page_of(linked / "README.md")
            target = self.folder / SOURCE / path / "index.md"
        else:
            target = self.folder / SOURCE / path.parent / _page_name(linked)
        if target not in self._made:
            self._made.add(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".md":
                self._write(linked, target)
            elif target.name == path.name:
                shutil.copy(linked, target)
            else:
                target.write_text(_shown(linked))
        return target


def _outside_code(text: str, change: Any) -> Iterator[str]:
    """The text, changed where it is not in a block of code."""
    for part in _parts(text):
        yield part if _is_code(part) else change(part)


def _parts(text: str) -> list[str]:
    """The text in pieces, each of which is a block of code or has none."""
    return re.split(r"(^ *```.*?^ *```$)", text, flags=re.MULTILINE | re.DOTALL)


def _is_code(part: str) -> bool:
    return part.lstrip().startswith("```")


def _with_anchors_of(english: str, dutch: str) -> str:
    """The Dutch page with the English names of its headings too: pages that have no translation link to these."""

    def titles(text: str) -> list[str]:
        return [title for part in _parts(text) if not _is_code(part) for _, title in HEADING.findall(part)]

    names = iter(titles(english) if len(titles(english)) == len(titles(dutch)) else ())

    def named(found: re.Match[str]) -> str:
        english_name, dutch_name = _anchor(next(names, found[2])), _anchor(found[2])
        return found[0] if english_name == dutch_name else f'{found[0]} <a id="{english_name}"></a>'

    return "".join(_outside_code(dutch, lambda part: HEADING.sub(named, part)))


def _anchor(title: str) -> str:
    """What the table of contents makes of a title."""
    return str(slugify(case="lower")(re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", title), "-"))


def _page_name(file: Path) -> str:
    """What the page of a file is called; what is too long to be read there stays the file that it is."""
    if file.suffix == ".md" or file.stat().st_size > LONGEST:
        return file.name
    # i18n takes two letters between dots for a language, as in `app.py.md`.
    return f"{file.name.replace('.', '-')}.md"


def _shown(file: Path) -> str:
    """The page of a file that is no Markdown, or of a folder."""
    path = file.relative_to(ROOT)
    if file.is_dir():
        names = subprocess.run(["git", "ls-files", path], cwd=ROOT, capture_output=True, text=True, check=True)
        language, text = "text", names.stdout
    else:
        language, text = LANGUAGES.get(file.suffix, file.suffix.lstrip(".") or "text"), file.read_text("utf-8")
    return f"---\nsearch:\n  exclude: true\n---\n\n# `{path}`\n\n``````{language}\n{text.rstrip()}\n``````\n"


def expanded(nav: Any, pages: list[str]) -> Any:
    """The navigation with the pages that its patterns stand for, in the order of their names.

    A pattern takes no page that is named in the navigation; a page is not there twice. Patterns do not reach into
    folders: `*.md` are the pages at the top.
    """
    named = {entry for entry in _entries(nav) if "*" not in entry}
    # A page that is planned, and that nobody has written yet, is left out; what is missing by mistake has links.
    rest = [page for page in pages if page not in named]

    def taken(pattern: str) -> list[str]:
        found = [page for page in rest if fnmatch(page, pattern) and page.count("/") == pattern.count("/")]
        rest[:] = [page for page in rest if page not in found]
        return found

    def walk(node: Any) -> Any:
        if isinstance(node, list):
            return [one for entry in node for one in (taken(entry) if _is_pattern(entry) else [walk(entry)])]
        return {title: walk(inner) for title, inner in node.items()} if isinstance(node, dict) else node

    return walk(nav)


def _is_pattern(entry: Any) -> bool:
    return isinstance(entry, str) and "*" in entry


def _entries(node: Any) -> Iterator[str]:
    """All pages and patterns of a navigation."""
    if isinstance(node, str):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from _entries(inner)


def drawn(source: str, *_: Any, **__: Any) -> str:
    """A diagram as a picture within the page, so that nothing of one can change another."""
    return f'<div class="diagram"><img alt="" src="data:image/svg+xml;base64,{_picture(source)}"></div>'


@cache
def _picture(source: str) -> str:
    """The diagram's SVG; each is drawn once for all languages.

    Widths are measured for a narrower font than many machines have, so words are written a size smaller.
    """
    svg = mmdr.render(source).svg().replace("font-size:14px", "font-size:12px").replace(LABEL_PAPER, "#fff")
    return base64.b64encode(svg.encode()).decode()
