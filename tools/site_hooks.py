"""Hooks of the documentation's build (mkdocs.yml): links to files outside of docs/, and long names in tables.

In the repository a page may link to ``../examples/batch.py``. The site has no such file, so the link leads to the
repository's web page instead. A link to a file that does not exist is left alone, and the strict build fails on it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
LINK = re.compile(r"(?<=\]\()(\.\./[^)#\s]*)")
CELL = re.compile(r"<td[^>]*>.*?</td>", re.DOTALL)
CODE = re.compile(r"(?<=<code>)[^<]{16,}(?=</code>)")


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Called by mkdocs with each page's text."""
    del files
    folder = posixpath.dirname(page.file.src_uri)

    def elsewhere(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join("docs", folder, link[1]))
        inside = target.startswith(("docs/", ".."))
        return link[1] if inside or not (ROOT / target).exists() else f"{config.repo_url}/blob/main/{target}"

    return LINK.sub(elsewhere, markdown)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Called by mkdocs with each page's HTML: lets names in tables break after dots and underscores only."""
    del page, config, files
    return CELL.sub(lambda cell: CODE.sub(lambda code: re.sub(r"([._/])(?=\w)", r"\1<wbr>", code[0]), cell[0]), html)
