"""A story in which several workers have rows in hand, settle late, repeat themselves and die.

The oracle of `tests/sql` judges what lessons and tracking rows became. Here each step is also held
against the rules of the schedule, of leases and of the audit.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, get_args
from uuid import UUID

import psycopg
from psycopg.rows import class_row

from tests.course import let_pass
from tests.sql.service import Json, Service
from tests.sql.upload_story import NEXT, Act, Story
from tests.sql.upload_world import ENVIRONMENT, Video

AtMux = Literal["becomes", "event", "late", "replaces", "deletes"]
ByWorker = Literal["settles", "repeats", "releases", "dies"]
Upkeep = Literal["adopts", "prunes", "notes_events"]

OFTEN_AT_MUX: list[AtMux] = ["becomes", "becomes", "event", "late"]
AT_MUX = [*OFTEN_AT_MUX, *OFTEN_AT_MUX, *get_args(AtMux)]
OFTEN_BY_WORKER: list[ByWorker] = ["settles", "settles", "settles"]
BY_WORKER = [*OFTEN_BY_WORKER, *get_args(ByWorker)]
OFTEN_UPKEEP: list[Upkeep] = ["adopts", "adopts"]
UPKEEP = [*OFTEN_UPKEEP, *get_args(Upkeep)]

LEASE_SECONDS = 3600.0
"""Far longer than an example takes: it ends only where the clock is moved."""

UNTOUCHED = frozenset({"unchanged", "unmatched", "waiting"})
"""The outcomes of what was settled before."""

BOOKS = b"""
    select l.id as lesson, l.status as lesson_status, t.id as row, t.upload_id as upload,
      t.mux_asset_id as asset, t.status::text, t.tracked_at, s.next_check_at, s.is_recheck,
      coalesce(s.next_check_at <= now(), false) as is_due
    from lessons l
    left join mux_asset_tracking t on t.lesson_id = l.id
    left join mux_private.schedule s on s.tracking_id = t.id
    where l.id = any(%s)"""

STRAYS = b"""
    select count(*) from mux_private.schedule s
    where not exists (select from mux_asset_tracking t where t.id = s.tracking_id)"""

EVENTS = b"""
    select id, event, lesson_id as lesson, upload_id as upload, asset_id as asset,
      playback_id as playback, reason, lesson_from_status, lesson_to_status
    from mux_asset_events where id > %s order by id"""

PRUNABLE = b"""
    select h.id, h.lesson_id, h.mux_id,
      not h.is_known and h.heard_at < now() - interval '30 days' and not exists (
        select from mux_asset_tracking t where t.lesson_id = h.lesson_id
        and case t.upload_id when 'migrated' then t.mux_asset_id else t.upload_id end = h.mux_id)
    from mux_private.upload_history h"""

EVERYTHING = b"""
    select jsonb_build_object(
      'lessons', (select jsonb_agg(l order by l.id) from lessons l),
      'rows', (select jsonb_agg(t order by t.id) from mux_asset_tracking t),
      'schedule', (select jsonb_agg(s order by s.tracking_id) from mux_private.schedule s),
      'history', (select jsonb_agg(h order by h.id) from mux_private.upload_history h),
      'audit', (select max(e.id) from mux_asset_events e),
      'state', (select jsonb_agg(w) from mux_private.worker_state w))"""

EARLIER = (
    b"""update mux_private.schedule set next_check_at = next_check_at - %(passed)s,
      last_checked_at = last_checked_at - %(passed)s where true""",
    b"update mux_private.upload_history set heard_at = heard_at - %(passed)s where true",
    b"update mux_asset_events set happened_at = happened_at - %(passed)s where true",
    b"update mux_private.worker_state set events_at = events_at - %(passed)s where true",
)
"""What moves back when time passes, besides what `let_pass` moves."""


@dataclass(frozen=True, slots=True)
class Book:
    """A lesson, its tracking row and its place in the schedule."""

    lesson: UUID
    lesson_status: str
    row: UUID | None
    upload: str | None
    asset: str | None
    status: str | None
    tracked_at: datetime | None
    next_check_at: datetime | None
    is_recheck: bool | None
    is_due: bool

    @property
    def upload_began(self) -> tuple[UUID | None, datetime | None]:
        """Return what changes when an upload begins to be tracked, or is looked at once more."""
        return self.row, self.tracked_at


class Event(NamedTuple):
    """An audit row."""

    id: int
    event: str
    lesson: UUID
    upload: str | None
    asset: str | None
    playback: str | None
    reason: str | None
    lesson_from_status: str | None
    lesson_to_status: str | None

    @property
    def publishes(self) -> bool:
        """Whether it says that the lesson was published."""
        return self.lesson_to_status == "published" != self.lesson_from_status


@dataclass(slots=True)
class Worker:
    """What one worker has in memory."""

    hand: list[Json] = field(default_factory=list)
    """Rows that it claimed."""

    items: list[Json] = field(default_factory=list)
    """What it is about to settle."""

    settled: list[Json] = field(default_factory=list)
    """What it settled last, and may send again."""

    def can(self, verb: ByWorker) -> bool:
        """Whether it has what it takes."""
        match verb:
            case "settles":
                return bool(self.items)
            case "repeats":
                return bool(self.settled)
            case "releases" | "dies":
                return bool(self.hand)


class WorkersStory(Story):
    """Tells what several workers do, beside all that a story has."""

    def __init__(
        self,
        db: psycopg.Connection,
        service: Service,
        browsers: tuple[psycopg.Connection, psycopg.Connection],
        number: int,
    ) -> None:
        super().__init__(db, service, browsers, number)
        self._db, self._service = db, service
        self._workers = [Worker(), Worker(), Worker()]
        self._published: Counter[tuple[UUID, str | None, int]] = Counter()
        self._begun: Counter[UUID] = Counter()
        self._touched: Collection[UUID] | None = ()
        self._by_script = False
        self._last_event = 0
        self._books = self._read_books()
        self._judges()

    # What the app, Mux and an operator do.

    def act(self, act: Act) -> None:
        """Do one thing, and judge what came of it."""
        self._by_script = act.verb == "script"  # it publishes lessons itself
        match act.verb:
            case "event" | "late" | "becomes":
                self._touched = self._tracking(self._videos[act.video])
            case "scan" | "patience" | "walk" | "backfill" | "by_hand":
                self._touched = None
            case _:
                self._touched = {self.lessons[act.lesson]}
        super().act(act)
        self._judges()

    def at_mux(self, verb: AtMux, number: int, way: int) -> None:
        """Have Mux go on with an upload, delete an asset, replace a playback id, or report one."""
        videos = [video for video in self._videos if self._can(verb, video)]
        if not videos:
            return
        videos.sort(key=lambda video: not self._tracking(video))
        video = videos[number % len(videos)]
        match verb:
            case "replaces":
                video.replaced += 1
                self._said.append(video.seen_by_upload("webhook"))
            case "deletes" | "becomes":
                self.act(Act("becomes", 0, self._videos.index(video), way))
            case "event" | "late":
                self.act(Act(verb, 0, self._videos.index(video), way))

    def _can(self, verb: AtMux, video: Video) -> bool:
        match verb:
            case "becomes":
                return video.stage != "ready" and bool(NEXT[video.stage])
            case "replaces" | "deletes":
                return video.stage == "ready"
            case _:
                return any(seen.upload_id == video.upload for seen in self._said)

    def upkeep(self, verb: Upkeep) -> None:
        """Have the periodic work of the workers done, or webhooks arrive."""
        match verb:
            case "adopts":
                self.act(Act("walk"))
            case "prunes":
                self.prunes()
            case "notes_events":
                self._call("select worker_note_events(null, true)")

    def passes(self, seconds: int) -> None:
        """Let time pass."""
        passed = timedelta(seconds=seconds)
        let_pass(self._db, seconds)
        for statement in EARLIER:
            self._db.execute(statement, {"passed": passed})
        for worker in self._workers:
            for row in (*worker.hand, *_claims(worker.items), *_claims(worker.settled)):
                _move_back(row, passed)
        self._books = self._read_books()

    # What the workers do.

    def by_worker(self, verb: ByWorker, number: int) -> None:
        """Have a worker do something with what it has in hand."""
        busy = [index for index, worker in enumerate(self._workers) if worker.can(verb)]
        if not busy:
            return
        number = busy[number % len(busy)]
        match verb:
            case "settles":
                self.settles(number)
            case "repeats":
                self.repeats(number)
            case "releases":
                self.releases(number)
            case "dies":
                self._workers[number] = Worker()

    def claims(self, number: int, size: int) -> None:
        """Have a worker claim the rows that are due, also while others have rows in hand."""
        worker = self._workers[number]
        due = {str(book.row) for book in self._read_books().values() if book.is_due}
        rows = self._service.claim(size, LEASE_SECONDS)
        ids = {row["id"] for row in rows}
        assert ids <= due, f"{ids - due} were not due"
        assert len(rows) == len(ids) == min(size, len(due)), f"{len(due)} are due: {rows}"
        books = {str(book.row): book for book in self._read_books().values()}
        for row in rows:
            book = books[row["id"]]
            assert book.next_check_at == datetime.fromisoformat(row["leased_until"])
            assert not book.is_due, f"{book} was claimed and is due"
        self._touched = {books[id_].lesson for id_ in ids}
        worker.hand += rows
        self._judges()

    def looks(self, number: int) -> None:
        """Have a worker ask Mux about what it has in hand; it settles that some time later."""
        worker = self._workers[number]
        worker.items = self._world.looks_at(worker.hand)

    def settles(self, number: int) -> None:
        """Have a worker settle what it saw, twice, as after a lost response."""
        worker = self._workers[number]
        self._settle(worker.items, twice=True)
        settled = {claim["id"] for claim in _claims(worker.items)}
        worker.hand = [row for row in worker.hand if row["id"] not in settled]
        worker.items, worker.settled = [], worker.items

    def repeats(self, number: int) -> None:
        """Have a worker send again what it settled, perhaps long ago."""
        self._settle(self._workers[number].settled, twice=False)

    def releases(self, number: int) -> None:
        """Have a worker hand back what it has not settled."""
        worker = self._workers[number]
        leases = {(row["id"], datetime.fromisoformat(row["leased_until"])) for row in worker.hand}
        books = self._books.items()
        self._touched = {
            one for one, book in books if (str(book.row), book.next_check_at) in leases
        }
        self._service.release(worker.hand)
        worker.hand, worker.items = [], []
        self._judges()

    def prunes(self) -> None:
        """Prune the audit and the upload history; only what is old and no longer needed goes."""
        before = self._db.execute(PRUNABLE).fetchall()
        self._call("select worker_prune_events(30, 1000)")
        left = {row[0] for row in self._db.execute(PRUNABLE)}
        gone = [row for row in before if row[0] not in left]
        assert all(is_prunable for *_, is_prunable in gone), gone
        old = "select count(*) from mux_asset_events where happened_at < now() - interval '30 days'"
        assert self._value(old) == 0
        for _, lesson, mux_id, _ in gone:
            self._oracle.forgets(lesson, mux_id)
        self._judges()

    def _settle(self, items: Sequence[Json], *, twice: bool) -> None:
        ids = {item[name] for item in items for name in ("upload_id", "asset_id")} - {None}
        for item in items:
            video = self._world.mux.by_id(item["asset_id"])
            if video is not None and item["upload_id"] is not None:
                self._oracle.is_linked(video)
        claimed = {claim["id"] for claim in _claims(items)}
        self._touched = {*self._having(claimed), *self._tracking(*ids)}
        outcomes: list[Json] = []

        def settle() -> None:
            outcomes.extend(self._service.settle(*items, environment=ENVIRONMENT))
            if twice:
                self._is_settled(items)

        self._step(settle)
        self._adopts(lambda: self._world.adopts_newer(outcomes))
        self._judges()

    def _is_settled(self, items: Sequence[Json]) -> None:
        before = self._value(EVERYTHING.decode())
        again = self._service.outcomes(*items)
        assert set(again) <= UNTOUCHED, f"the second time it was {again}"
        after = self._value(EVERYTHING.decode())
        changed = [name for name in before if before[name] != after[name]]
        assert not changed, f"settling again changed {changed}: {before} {after}"

    # What must be so after each step.

    def _judges(self) -> None:
        """Judge what the last step did to the schedule and wrote into the audit."""
        books = self._read_books()
        self._judge_schedule(books)
        for lesson, book in books.items():
            before = self._books.get(lesson)
            if before is None or before.upload_began != book.upload_began:
                self._begun[lesson] += 1
        self._judge_audit(books)
        self._books, self._touched, self._by_script = books, (), False

    def ends(self) -> None:
        """Let the workers die and all be decided."""
        self._workers = [Worker(), Worker(), Worker()]
        super().ends()
        self._touched = None
        self._judges()

    def _judge_schedule(self, books: dict[UUID, Book]) -> None:
        for lesson, book in books.items():
            is_scheduled = book.next_check_at is not None
            match book.status:
                case "processing":
                    assert is_scheduled, f"{book} waits and is not in the schedule"
                    assert not book.is_recheck, f"{book} waits and is marked as a recheck"
                case "ready" if is_scheduled:
                    assert book.is_recheck, f"{book} is ready and is no recheck"
                case _:
                    assert not is_scheduled, f"{book} does not wait and is in the schedule"
            before = self._books.get(lesson)
            if self._touched is not None and lesson not in self._touched and before is not None:
                unmoved = before.next_check_at == book.next_check_at
                assert unmoved, f"{before} was not concerned and became {book}"
        assert self._value(STRAYS.decode()) == 0, "the schedule has a row of no tracking row"

    def _judge_audit(self, books: dict[UUID, Book]) -> None:
        with self._db.cursor(row_factory=class_row(Event)) as cursor:
            events = cursor.execute(EVENTS, [self._last_event]).fetchall()
        rechecked = {event.lesson for event in events if event.event == "rechecked"}
        for lesson, book in books.items():
            was_recheck = lesson in self._books and self._books[lesson].is_recheck
            is_new = book.is_recheck and not was_recheck
            assert not is_new or lesson in rechecked, f"{book} is checked again without a reason"
        for event in events:
            if event.event in ("published", "attached", "restored", "updated"):
                self._judge_video(event)
            if event.event == "published" and event.reason != "by_hand":
                key = event.lesson, event.upload, self._begun[event.lesson]
                self._published[key] += 1
                assert self._published[key] == 1, f"{event} was published twice"
        for lesson, book in books.items():
            was = self._books[lesson].lesson_status if lesson in self._books else None
            if not self._by_script and was == "draft" and book.lesson_status == "published":
                changes = [e for e in events if e.lesson == lesson and e.publishes]
                assert len(changes) == 1, f"{book} was published, and the audit has {changes}"
        self._last_event = events[-1].id if events else self._last_event

    def _judge_video(self, event: Event) -> None:
        video = self._world.mux.by_id(event.asset)
        assert video is not None, f"{event} has no asset"
        assert video.asset == event.asset, f"{event} has no asset"
        is_by_hand = event.reason == "by_hand" and event.playback is None
        assert is_by_hand or event.playback in video.playbacks, f"{event} has no playback id"

    # The rest.

    def _read_books(self) -> dict[UUID, Book]:
        with self._db.cursor(row_factory=class_row(Book)) as cursor:
            books = cursor.execute(BOOKS, [self.lessons]).fetchall()
        return {book.lesson: book for book in books}

    def _having(self, row_ids: Collection[str]) -> set[UUID]:
        return {lesson for lesson, book in self._books.items() if str(book.row) in row_ids}

    def _tracking(self, *about: Video | str) -> set[UUID]:
        """Return the lessons whose rows track one of these videos or ids."""
        ids = set()
        for one in about:
            ids |= {one.upload, one.asset} if isinstance(one, Video) else {one}
        books = self._books.items()
        return {lesson for lesson, book in books if {book.upload, book.asset} & ids}

    def _call(self, query: str) -> Any:
        row = self._service.connection.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]

    def _value(self, query: str) -> Any:
        row = self._db.execute(query.encode()).fetchone()
        assert row is not None
        return row[0]


def _claims(items: Iterable[Json]) -> list[Json]:
    return [claim for item in items for claim in item.get("claimed", ())]


def _move_back(row: Json, passed: timedelta) -> None:
    for name in ("tracked_at", "leased_until", "due_at"):
        if row.get(name):
            row[name] = (datetime.fromisoformat(row[name]) - passed).isoformat()
