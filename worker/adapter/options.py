"""Say what the app's table of lessons and its columns are called: the options of `mux-worker sql`.

Pure: reads the options that were given, checks them, and writes them as a command line.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

from worker.errors import UsageError

NONE = "none"
NULL = "null"
KEY_TYPES = ("uuid", "bigint", "integer", "text")
LONGEST_NAME_BYTES = 63
LONGEST_WORD = 100


@dataclass(frozen=True)
class Table:
    """A table of the app."""

    schema: str
    name: str

    def __str__(self) -> str:
        """Return it as an option has it."""
        return f"{self.schema}.{self.name}"


@dataclass(frozen=True)
class Hop:
    """A parent table, to which a column before it refers, and the parent's column that counts."""

    table: Table
    column: str

    def __str__(self) -> str:
        """Return it as an option has it."""
        return f"{self.table}.{self.column}"


@dataclass(frozen=True)
class Owner:
    """Where the owner's id stands: in a column of the lesson, or some parents further."""

    column: str
    hops: tuple[Hop, ...] = ()

    def __str__(self) -> str:
        """Return it as an option has it."""
        return ":".join([self.column, *map(str, self.hops)])


@dataclass(frozen=True)
class Options:
    """The app's table of lessons. None stands for `none`, and for the word null.

    Names are as Postgres keeps them, with their case and without quotes. `key_type` None means that
    the SQL finds the type in the table.
    """

    lessons: Table = Table("public", "lessons")
    key: str = "id"
    key_type: str | None = None
    owner: Owner | None = Owner("creator_id")
    status: str | None = "status"
    draft: str | None = "draft"
    published: str | None = "published"
    asset: str = "mux_asset_id"
    playback: str = "mux_playback_id"
    updated: str | None = "updated_at"
    title: str | None = "title"

    def __post_init__(self) -> None:
        """Check what goes together.

        Raises:
            UsageError: two options name the same column, or both words are the same.
        """
        if self.status is not None and self.draft == self.published:
            problem = f"--draft and --published are both {_word_text(self.draft)}"
            raise UsageError(f"{problem}. Give each its own word.")
        columns = {
            "--key": self.key,
            "--status": self.status,
            "--asset": self.asset,
            "--playback": self.playback,
            "--updated": self.updated,
        }
        first: dict[str, str] = {}
        for option, column in columns.items():
            if column is not None and first.setdefault(column, option) != option:
                problem = f"{first[column]} and {option} both name the column {column}"
                raise UsageError(f"{problem}. Name a column of its own for each.")

    @classmethod
    def parse(cls, given: Mapping[str, str | None]) -> Self:
        """Return the options from the texts that were given; None and absent ones are defaults.

        Raises:
            UsageError: with what is wrong and what is right.
        """
        texts = {name: text for name, text in given.items() if text is not None}
        if texts.get("status") == NONE and (words := texts.keys() & {"draft", "published"}):
            option = f"--{min(words)}"
            raise UsageError(f"{option} has no meaning with --status none. Remove one of the two.")
        values: dict[str, object] = {}
        for name, text in texts.items():
            match name:
                case "key":
                    values |= _key(text)
                case "lessons":
                    values[name] = _table(text)
                case "owner":
                    values[name] = _owner(text)
                case "draft" | "published":
                    values[name] = _word(text, f"--{name}")
                case "status" | "updated" | "title" if text == NONE:
                    values[name] = None
                case _:
                    values[name] = _name(text, f"--{name}")
        if texts.get("status") == NONE:
            values |= {"draft": None, "published": None}
        return cls(**values)  # type: ignore[arg-type]  # each value is of its field's type

    def arguments(self) -> list[str]:
        """Return the arguments that name these options, as few as possible."""
        arguments = []
        for name, text in self.texts().items():
            if text != _DEFAULTS[name]:
                arguments += [f"--{name}", text]
        return arguments

    def texts(self) -> dict[str, str]:
        """Return the text of each option."""
        texts = {field.name: getattr(self, field.name) for field in fields(self)}
        key_type = texts.pop("key_type")
        if key_type is not None:
            texts["key"] = f"{self.key}:{key_type}"
        if self.status is None:
            texts |= {"draft": "draft", "published": "published"}
        words = {name: _word_text(texts[name]) for name in ("draft", "published")}
        return {name: NONE if text is None else str(text) for name, text in texts.items()} | words


def _word_text(word: str | None) -> str:
    return NULL if word is None else word


_DEFAULTS = Options().texts()


def _key(text: str) -> dict[str, object]:
    column, colon, kind = text.partition(":")
    if colon and kind not in KEY_TYPES:
        raise UsageError(f"--key: {kind or 'nothing'} is no type of a key. Say one of {_TYPES}.")
    return {"key": _name(column, "--key"), "key_type": kind or None}


_TYPES = f"{', '.join(KEY_TYPES[:-1])} or {KEY_TYPES[-1]}"


def _table(text: str) -> Table:
    parts = text.split(".")
    if len(parts) != 2:
        raise UsageError(
            f"--lessons: {text} is no SCHEMA.TABLE. Give both names, such as public.lessons."
        )
    return Table(*(_name(part, "--lessons") for part in parts))


def _owner(text: str) -> Owner | None:
    if text == NONE:
        return None
    column, *parents = text.split(":")
    return Owner(_name(column, "--owner"), tuple(_hop(parent) for parent in parents))


def _hop(text: str) -> Hop:
    parts = text.split(".")
    if len(parts) != 3:
        raise UsageError(
            f"--owner: {text or 'nothing'} is no SCHEMA.TABLE.COLUMN. Give each parent as in "
            "course_id:public.courses.instructor_id."
        )
    schema, table, column = (_name(part, "--owner") for part in parts)
    return Hop(Table(schema, table), column)


def _name(text: str, option: str) -> str:
    """Return a name that the SQL can contain."""
    if not text:
        raise UsageError(f"{option} needs a name.")
    if len(text.encode(errors="replace")) > LONGEST_NAME_BYTES:
        raise UsageError(
            f"{option}: {text} is longer than Postgres allows. A name has at most "
            f"{LONGEST_NAME_BYTES} bytes."
        )
    if text == NULL or "." in text or ":" in text:
        raise UsageError(f"{option}: {text} is no name of a column. Give the column's name alone.")
    return _printable(text, option)


def _word(text: str, option: str) -> str | None:
    if not text:
        raise UsageError(f"{option} needs a word, such as {option.removeprefix('--')}.")
    if len(text) > LONGEST_WORD:
        raise UsageError(f"{option}: a word has at most {LONGEST_WORD} characters.")
    return None if text == NULL else _printable(text, option)


def _printable(text: str, option: str) -> str:
    """Return a text that can be no end of a line, nor of a function's body."""
    if not text.isprintable() or "$" in text:
        raise UsageError(
            f"{option}: {text!r} has a character that cannot be in the SQL. "
            "All that is printable can, but for $."
        )
    return text
