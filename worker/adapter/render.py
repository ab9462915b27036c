"""Render the adapter for the app's table of lessons; all other files of sql/ are as they are."""

import shlex
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from worker.adapter.options import Options
from worker.adapter.quoting import quote_name, quote_table, quote_word
from worker.sql_files import sql_files


def scripts(options: Options) -> dict[str, str]:
    """Return the SQL of each file by the file's name without `.sql`, in the order of applying."""
    return {
        file.stem: render(options, file.stem) if is_adapter(file) else file.read_text("utf-8")
        for file in sql_files()
    }


def is_adapter(file: Path) -> bool:
    """Whether a file of sql/ is a part of the adapter."""
    return (_TEMPLATES / _template(file.stem)).is_file()


def render(options: Options, file: str) -> str:
    """Return the SQL of a part of the adapter; `file` is its name in sql/, without `.sql`."""
    return _render(_template(file), options, file=file)


def optional_script(options: Options, file: Path) -> str:
    """Return the SQL of a file of sql/optional, rendered if it names the table of lessons."""
    template = f"{file.stem}.sql.jinja"
    if (_TEMPLATES / template).is_file():
        return _render(template, options)
    return file.read_text("utf-8")


def _template(file: str) -> str:
    return f"{file.partition('_')[2]}.sql.jinja"


def _render(template: str, options: Options, **values: str) -> str:
    hops = options.owner.hops if options.owner else ()
    arguments = "".join(f" {shlex.quote(argument)}" for argument in options.arguments())
    return _ENVIRONMENT.get_template(template).render(
        options=options, hops=hops, arguments=arguments, **_fragments(options), **values
    )


def _fragments(options: Options) -> dict[str, object]:
    """Return the parts of statements that depend on the options; `l` is the lesson."""
    owner, status = options.owner, options.status and f"l.{quote_name(options.status)}"
    owner_text = owner and f"l.{quote_name(owner.column)}::text"
    key = quote_name(options.key)
    if owner and owner.hops:
        owner_text = f"mux_private.owner_of(l.{key})"
    owner_text = owner_text or "null::text"
    columns = [
        f"l.{key}",
        owner_text,
        f"left({status}::text, 300)" if status else "null::text",
        *(f"left(l.{quote_name(name)}::text, 300)" for name in (options.asset, options.playback)),
    ]
    words = [_has_word(status, word) for word in (options.draft, options.published)]
    written = [options.status, options.asset, options.playback, options.updated]
    read = [options.key, owner.column if owner else None, *written]
    schema = [] if options.lessons.schema == "public" else [quote_name(options.lessons.schema)]
    return {
        "lessons": quote_table(options.lessons),
        "schema": quote_name(options.lessons.schema),
        "key": key,
        "asset": quote_name(options.asset),
        "playback": quote_name(options.playback),
        "status": options.status and quote_name(options.status),
        "updated": options.updated and quote_name(options.updated),
        "title": options.title and quote_name(options.title),
        "owner_text": owner_text,
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


_TEMPLATES = Path(__file__).parent

# SQL is no HTML: names and words are quoted by the filters.
_ENVIRONMENT = Environment(  # noqa: S701
    loader=FileSystemLoader(_TEMPLATES),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)
_ENVIRONMENT.filters |= {"name": quote_name, "word": quote_word, "table": quote_table}
