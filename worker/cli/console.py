"""Print for people through rich: colours and line breaks only on a terminal."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

PIPED_WIDTH = 1_000_000
"""More columns than any line has, so that rich neither breaks nor shortens what is piped."""


def console() -> "Console":
    """Return a console for standard output."""
    from rich.console import Console

    is_terminal = sys.stdout.isatty()
    return Console(
        color_system="auto" if is_terminal and not os.environ.get("NO_COLOR") else None,
        force_terminal=is_terminal,
        width=None if is_terminal else PIPED_WIDTH,
        markup=False,
        emoji=False,
        highlight=False,
    )


def show(*renderables: "RenderableType") -> None:
    """Print to standard output."""
    print(text_of(*renderables), end="", flush=True)


def text_of(*renderables: "RenderableType") -> str:
    """Return what is to be printed, without the blanks that rich adds at the end of lines."""
    target = console()
    with target.capture() as capture:
        for renderable in renderables:
            target.print(renderable)
    lines = capture.get().split("\n")
    return "\n".join(line.rstrip() for line in lines)


def columns(*widths: int) -> "Table":
    """Return a table without lines, whose columns have at least these widths; the last wraps."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        table.add_column(min_width=width, no_wrap=True)
    table.add_column(overflow="fold")
    return table
