"""Propose the options of `mux-worker sql` for the tables of a database. Pure."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.adapter.app_table import AppTable, Column, plain
from worker.adapter.options import KEY_TYPES, NONE, NULL, Hop, Options, Owner, Table
from worker.errors import WorkerError

LESSON_NAMES = ("lesson", "lecture", "episode", "chapter", "video")
ASSET_NAMES = ("muxassetid", "muxasset", "muxvideoid", "assetid", "videoassetid")
PLAYBACK_NAMES = ("muxplaybackid", "muxplayback", "playbackid", "videoplaybackid")
STATUS_NAMES = (
    *("status", "lessonstatus", "publishstatus", "publicationstatus", "state"),
    *("ispublished", "published", "isdraft", "draft", "visibility"),
)
OWNER_NAMES = (
    *("creatorid", "ownerid", "instructorid", "teacherid", "authorid", "userid", "profileid"),
    *("createdby", "creator", "owner", "instructor", "teacher", "author", "clerkuserid"),
)
USER_NAMES = ("userid", "authuserid", "authid", "clerkuserid", "clerkid")
UPDATED_NAMES = ("updatedat", "modifiedat", "lastupdatedat", "lastmodifiedat", "updated")
TITLE_NAMES = ("title", "lessontitle", "name", "heading")

DRAFT_WORDS = ("draft", "unpublished", "private", "hidden", "pending", "inactive")
PUBLISHED_WORDS = ("published", "public", "live", "active", "visible")
OWNER_TYPES = ("uuid", "text", "bigint", "integer")
TIMES = ("timestamp with time zone", "timestamp without time zone")
MAX_HOPS = 3


@dataclass(frozen=True)
class Proposal:
    """The options that fit, and for each the reason."""

    options: Options
    reasons: Mapping[str, str]


SeenWords = Callable[[Table, str], Sequence[str | None]]
"""Returns some of the values that a column has, as text."""


def propose(
    tables: Sequence[AppTable], seen_words: SeenWords, given: Mapping[str, str | None]
) -> Proposal:
    """Return the options that fit the app's table of lessons; `given` ones are taken as they are.

    Raises:
        WorkerError: nothing fits, with what to do.
        UsageError: a given option is wrong.
    """
    by_name = {table.table: table for table in tables}
    lessons = _lessons(tables, given)
    found = {
        "lessons": (str(lessons.table), "has columns for a Mux asset and a playback id"),
        "key": _key(lessons, given),
        "owner": _owner(lessons, by_name),
        "asset": _mux_column(lessons, "asset", given),
        "playback": _mux_column(lessons, "playback", given),
        "updated": _optional(lessons.find(UPDATED_NAMES, TIMES), "no column says when it changed"),
        "title": _optional(lessons.find(TITLE_NAMES), "no column looks like a title"),
        **_status(lessons, seen_words, given.get("status")),
    }
    texts = {name: text for name, (text, _) in found.items()}
    reasons = {name: reason for name, (_, reason) in found.items()}
    for name, value in given.items():
        if value is not None:
            texts[name], reasons[name] = value, "given"
    if texts.get("status") == NONE:
        for word in ("draft", "published"):
            if given.get(word) is None:
                texts.pop(word, None)
    return Proposal(Options.parse(texts), reasons)


Found = tuple[str, str]
"""The text of an option, and the reason."""


def _lessons(tables: Sequence[AppTable], given: Mapping[str, str | None]) -> AppTable:
    if (name := given.get("lessons")) is not None:
        wanted = Options.parse({"lessons": name}).lessons
        chosen = [table for table in tables if table.table == wanted]
        if not chosen:
            raise WorkerError(f"There is no table {wanted}. Name one with --lessons SCHEMA.TABLE.")
        return chosen[0]
    fitting = [
        table
        for table in tables
        if table.find(ASSET_NAMES, ["text"]) and table.find(PLAYBACK_NAMES, ["text"])
    ]
    if not fitting:
        raise WorkerError(
            "No table has both a column for a Mux asset id and one for a playback id. Name the "
            "table with --lessons, and its columns with --asset and --playback."
        )
    best = min(_rank(table) for table in fitting)
    chosen = [table for table in fitting if _rank(table) == best]
    if len(chosen) > 1:
        names = ", ".join(sorted(str(table.table) for table in chosen))
        raise WorkerError(f"Several tables may be the lessons: {names}. Name one with --lessons.")
    return chosen[0]


def _rank(table: AppTable) -> int:
    name = plain(table.table.name)
    ranks = [rank for rank, part in enumerate(LESSON_NAMES) if part in name]
    return min(ranks, default=len(LESSON_NAMES))


def _key(lessons: AppTable, given: Mapping[str, str | None]) -> Found:
    if given.get("key") is not None:
        return "", ""
    column = lessons.column(lessons.key) if lessons.key else None
    if column is None:
        raise WorkerError(
            f"{lessons.table} has no primary key of one column. Only such a table can be served."
        )
    if column.type not in KEY_TYPES:
        raise WorkerError(
            f"The key {column.name} of {lessons.table} is {column.type}. Only a key that is "
            f"{', '.join(KEY_TYPES[:-1])} or {KEY_TYPES[-1]} can be served."
        )
    return column.name, f"the primary key, {column.type}"


def _mux_column(lessons: AppTable, option: str, given: Mapping[str, str | None]) -> Found:
    if given.get(option) is not None:
        return "", ""
    names = ASSET_NAMES if option == "asset" else PLAYBACK_NAMES
    column = lessons.find(names, ["text"])
    if column is None:
        raise WorkerError(
            f"{lessons.table} has no column that looks like the one for the Mux {option} id. Name "
            f"it with --{option}."
        )
    return column.name, column.type


def _optional(column: Column | None, without: str) -> Found:
    if column is None or column.is_generated:
        return NONE, without
    return column.name, column.type


def _status(lessons: AppTable, seen_words: SeenWords, given: str | None) -> dict[str, Found]:
    columns = lessons.find_all(STATUS_NAMES, ["text", "enum", "boolean"])
    if given is not None:
        columns = (column for column in lessons.columns if column.name == given)
    for column in columns:
        if column.is_generated:
            continue
        seen = [] if column.words else seen_words(lessons.table, column.name)
        words = _words(column, seen)
        if words is not None:
            known = column.words or sorted(word or NULL for word in seen)
            return {
                "status": (column.name, f"{column.type}: {', '.join(known) or 'no rows yet'}"),
                "draft": (words[0], "what a new lesson has"),
                "published": (words[1], "what students see"),
            }
    return {"status": (NONE, "no column says which lessons are published")}


def _words(column: Column, seen: Sequence[str | None]) -> tuple[str, str] | None:
    """Return the words of a draft and of a published lesson; None if the column has none."""
    starts_null = column.is_nullable and column.default is None
    if column.type == "boolean":
        draft, published = ("true", "false") if "draft" in plain(column.name) else ("false", "true")
        return (NULL if starts_null and draft not in seen else draft, published)
    known = column.words or tuple(word for word in seen if word is not None)
    is_free = not column.words
    if is_free and not known:
        known = () if column.default is None else (column.default,)
    draft_word, published_word = _among(known, DRAFT_WORDS), _among(known, PUBLISHED_WORDS)
    if is_free and published_word is None and (draft_word is not None or not known):
        published_word = _written_like(draft_word, "published")
    if draft_word is None:
        draft_word = NULL if starts_null else column.default
    if draft_word is None and is_free:
        draft_word = _written_like(published_word, "draft")
    if published_word is None or draft_word in {None, published_word}:
        return None
    return str(draft_word), published_word


def _written_like(example: str | None, word: str) -> str:
    """Return a word in the case of another."""
    if example is None or example.islower():
        return word
    return word.upper() if example.isupper() else word.capitalize()


def _among(known: Iterable[str], wanted: Iterable[str]) -> str | None:
    by_lower = {word.lower(): word for word in known}
    return next((by_lower[word] for word in wanted if word in by_lower), None)


@dataclass(frozen=True)
class _Path:
    """A table, and the columns and parents that lead to it from the lesson."""

    table: AppTable
    columns: tuple[str, ...] = ()
    parents: tuple[Table, ...] = ()

    def follow(self, column: str, parent: AppTable) -> "_Path":
        return _Path(parent, (*self.columns, column), (*self.parents, parent.table))

    def owner(self, column: str) -> Owner:
        first, *others = (*self.columns, column)
        return Owner(first, tuple(map(Hop, self.parents, others)))


def _owner(lessons: AppTable, tables: Mapping[Table, AppTable]) -> Found:
    """Search the lesson, then its parents, the nearest first."""
    paths = [_Path(lessons)]
    for _ in range(MAX_HOPS):
        for path in paths:
            column = path.table.find(OWNER_NAMES, OWNER_TYPES)
            if column is not None:
                owner = _user(path, column.name, tables)
                return str(owner), "looks like a user's id"
        paths = [
            path.follow(column, tables[parent])
            for path in paths
            for column, parent in path.table.references.items()
            if parent in tables and parent not in {lessons.table, *path.parents}
        ]
    return NONE, "neither it nor a parent has a column that looks like a user's id"


def _user(path: _Path, column: str, tables: Mapping[Table, AppTable]) -> Owner:
    """Follow a column to a profile, where the user's id is in another column than its key."""
    parent = path.table.references.get(column)
    profile = tables.get(parent) if parent else None
    if profile is not None and profile.key is not None and profile.key not in profile.references:
        user = profile.find(USER_NAMES, OWNER_TYPES)
        if user is not None and user.name != profile.key:
            return path.follow(column, profile).owner(user.name)
    return path.owner(column)
