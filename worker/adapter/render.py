"""Render the adapter for the app's table of lessons; all other files of sql/ are as they are."""

import re
import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.adapter.options import Options, Table
from worker.sql_files import sql_files

TEMPLATE = "lessons.sql.jinja"

# What Postgres 15 to 18 takes for a name only in quotes. A test compares it with the database.
RESERVED = frozenset(
    """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check
    collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user default deferrable desc
    distinct do else end except false fetch for foreign freeze from full grant group having ilike in
    initially inner intersect into is isnull join lateral leading left like limit localtime
    localtimestamp natural not notnull null offset on only or order outer overlaps placing primary
    references returning right select session_user similar some symmetric system_user table
    tablesample then to trailing true union unique user using variadic verbose when where window
    with
    """.split()
)


def scripts(options: Options) -> dict[str, str]:
    """Return the SQL of each file by the file's name without `.sql`, in the order of applying."""
    return {
        file.stem: render(options, file.stem) if is_adapter(file) else file.read_text("utf-8")
        for file in sql_files()
    }


def is_adapter(file: Path) -> bool:
    """Whether a file of sql/ is the adapter."""
    return file.stem.endswith("_lessons")


def render(options: Options, file: str) -> str:
    """Return the adapter's SQL; `file` is its name in sql/, without `.sql`."""
    return _ENVIRONMENT.get_template(TEMPLATE).render(
        file=file,
        arguments="".join(f" {shlex.quote(argument)}" for argument in options.arguments()),
        options=options,
        hops=options.owner.hops if options.owner else (),
        **_fragments(options),
    )


def _fragments(options: Options) -> dict[str, object]:
    """Return the parts of statements that depend on the options; `l` is the lesson."""
    owner, status = options.owner, options.status and f"l.{quote_name(options.status)}"
    owner_text = owner and f"l.{quote_name(owner.column)}::text"
    key = quote_name(options.key)
    if owner and owner.hops:
        owner_text = f"mux_private.owner_of(l.{key})"
    columns = [
        f"l.{key}",
        owner_text or "null::text",
        f"left({status}::text, 300)" if status else "null::text",
        *(f"left(l.{quote_name(name)}::text, 300)" for name in (options.asset, options.playback)),
    ]
    words = [_has_word(status, word) for word in (options.draft, options.published)]
    written = [options.status, options.asset, options.playback, options.updated]
    read = [options.key, owner.column if owner else None, *written]
    schema = [] if options.lessons.schema == "public" else [quote_name(options.lessons.schema)]
    return {
        "lessons": quote_table(options.lessons),
        "key": key,
        "asset": quote_name(options.asset),
        "playback": quote_name(options.playback),
        "status": options.status and quote_name(options.status),
        "updated": options.updated and quote_name(options.updated),
        "title": options.title and quote_name(options.title),
        "owner_column": owner and quote_name(owner.column),
        "columns": ", ".join(columns) + ",\n    " + ", ".join(words),
        "written": [quote_name(name) for name in written if name],
        "read": [quote_name(name) for name in read if name],
        "path": ", ".join([*schema, "public", "extensions", "pg_temp"]),
    }


def _has_word(status: str | None, word: str | None) -> str:
    """Return the condition that a lesson has this word."""
    if status is None:
        return "false"
    if word is None:
        return f"{status} is null"
    return f"coalesce({status}::text = {quote_word(word)}, false)"


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


# SQL is no HTML: names and words are quoted by the filters.
_ENVIRONMENT = Environment(  # noqa: S701
    loader=FileSystemLoader(Path(__file__).parent),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)
_ENVIRONMENT.filters |= {"name": quote_name, "word": quote_word, "table": quote_table}
