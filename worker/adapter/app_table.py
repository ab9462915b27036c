"""What is known of an app's table. Pure."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from worker.adapter.options import Table


@dataclass(frozen=True)
class Column:
    """A column: its base type, an enum's or check's words, and the literal of its default."""

    name: str
    type: str
    words: tuple[str, ...] = ()
    default: str | None = None
    is_nullable: bool = True
    is_generated: bool = False


@dataclass(frozen=True)
class AppTable:
    """A table with its primary key, where that is one column, and what its columns refer to."""

    table: Table
    columns: tuple[Column, ...]
    key: str | None = None
    references: Mapping[str, Table] = field(default_factory=dict)

    def find(self, names: Iterable[str], types: Iterable[str] | None = None) -> Column | None:
        """Return the first column by one of these names, as the order of the names has it."""
        return next(self.find_all(names, types), None)

    def find_all(
        self, names: Iterable[str], types: Iterable[str] | None = None
    ) -> Iterator[Column]:
        """Yield the columns by one of these names, as the order of the names has them."""
        allowed = None if types is None else set(types)
        for name in names:
            for column in self.columns:
                if plain(column.name) == name and (allowed is None or column.type in allowed):
                    yield column

    def column(self, name: str) -> Column | None:
        """Return the column of exactly this name."""
        return next((column for column in self.columns if column.name == name), None)


def plain(name: str) -> str:
    """Return a name without its case and its signs, to be compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
