"""What mkdocs calls while it builds the site: the tests that pages link to become part of it, as text."""

from __future__ import annotations

import pathlib
import re
from typing import Any

from mkdocs.structure.files import File

ROOT = pathlib.Path(__file__).parent.parent
# In the sources the links lead to the files themselves, so that they work where the repository is read.
LINK = re.compile(r"\]\(\.\./((?:tests|examples)/[\w/.@-]+)\)")


def on_files(files: Any, config: Any) -> Any:
    linked = {path for file in files.documentation_pages() for path in LINK.findall(file.content_string)}
    for path in sorted(linked):
        if (ROOT / path).is_file():
            text = (ROOT / path).read_text(encoding="utf-8")
            files.append(File.generated(config, f"{path}.txt", content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    return LINK.sub(r"](\1.txt)", markdown)
