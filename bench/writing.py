"""Write Markdown: tables, and the generated blocks of a document."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def replace_block(file: Path, name: str, text: str) -> None:
    """Replace the text between `<!-- name: ... -->` and `<!-- end -->` in a document."""
    pattern = rf"(<!-- {name}:.*?-->\n).*?(<!-- end -->)"
    old = file.read_text()
    new, found = re.subn(pattern, lambda m: f"{m[1]}{text}\n{m[2]}", old, flags=re.DOTALL)
    assert found == 1, f"{file} has {found} blocks named {name}"
    file.write_text(new)
