"""Write names and words as SQL wants them. Pure."""

import re

from worker.adapter.options import Table

# What Postgres 15 to 18 takes for a name only in quotes. A test compares it with the database.
_RESERVED = (
    "all analyse analyze and any array as asc asymmetric authorization binary both case "
    "cast check collate collation column concurrently constraint create cross "
    "current_catalog current_date current_role current_schema current_time "
    "current_timestamp current_user default deferrable desc distinct do else end except "
    "false fetch for foreign freeze from full grant group having ilike in initially "
    "inner intersect into is isnull join lateral leading left like limit localtime "
    "localtimestamp natural not notnull null offset on only or order outer overlaps "
    "placing primary references returning right select session_user similar some "
    "symmetric system_user table tablesample then to trailing true union unique user "
    "using variadic verbose when where window with"
)
RESERVED = frozenset(_RESERVED.split())


def quote_name(name: str) -> str:
    """Return a name as SQL wants it, in quotes only where it must be."""
    if re.fullmatch(r"[a-z_][a-z0-9_]*", name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def quote_word(word: str | None) -> str:
    """Return a text as a literal; None is null."""
    if word is None:
        return "null"
    literal = "'" + word.replace("'", "''") + "'"
    return f"e{literal}".replace("\\", "\\\\") if "\\" in word else literal


def quote_table(table: Table) -> str:
    """Return a table's name with its schema."""
    return f"{quote_name(table.schema)}.{quote_name(table.name)}"
