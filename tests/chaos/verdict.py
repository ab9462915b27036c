"""Judge a run by the database's own record and Mux's, never by what a worker says.

The seven kinds of violation: `lost` (not published, not failed, or too late, or in the hands of a
worker that was killed), `duplicated`
(published or claimed twice), `wrong` (an id that is not the lesson's newest video's), `torn` (a
lesson, its row and its audit changed in different transactions), `budget` (requests to Mux),
`secret` (in the output of a process) and `process` (one that ended by itself or too late).
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

from sandbox.mux.timeline import Asset, Timeline, Upload
from tests.chaos.faults import Happened
from tests.chaos.journal import Entry, Json
from tests.chaos.world import Life

Kind = Literal["lost", "duplicated", "wrong", "torn", "budget", "secret", "process"]
KINDS: tuple[Kind, ...] = ("lost", "duplicated", "wrong", "torn", "budget", "secret", "process")

SETTLED_EVENTS = {"published", "attached", "restored", "updated"}
CLOCK_SECONDS = 0.1
"""How far the clocks of Mux and of the database may be apart."""

FAILURES = {
    "asset_errored": "asset_errored",
    "upload_errored": "upload_errored",
    "cancelled": "upload_cancelled",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """What is not as it was promised."""

    kind: Kind
    text: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """How long a lesson took, from its video being ready or the last fault's end, if later.

    `after` are the kinds of the faults in which it waited.
    """

    lesson: UUID
    seconds: float
    is_adopted: bool
    after: frozenset[str]


@dataclass(frozen=True, slots=True)
class Takeover:
    """How long a row that was leased when a worker was killed stayed as it was.

    It counts from the kill or from the end of the last fault in which it waited, if that is later.
    """

    tracking: UUID
    since: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a lesson may take, and one that the app did not track; and a killed worker's row."""

    tracked_seconds: float
    adopted_seconds: float
    lease_seconds: float
    takeover_seconds: float


@dataclass(frozen=True, slots=True)
class Video:
    """An upload of a story, and what Mux made of it."""

    lesson: UUID
    number: int
    upload: Upload
    asset: Asset | None

    @property
    def timeline(self) -> Timeline:
        """Return what Mux does with it."""
        return self.upload.timeline

    @property
    def ready_at(self) -> float | None:
        """Return when it can be played; None: never."""
        if self.asset is None or self.timeline.ending != "ready":
            return None
        return self.asset.prepared_at

    @property
    def ids(self) -> tuple[str | None, str | None]:
        """Return the ids with which a lesson plays it."""
        if self.asset is None:
            return None, None
        return self.asset.id, self.asset.playback_ids[0].id

    def is_named_by(self, value: Json | None) -> bool:
        """Whether a row tracks it, or a lesson's columns name it."""
        names = {(value or {}).get(name) for name in ("upload", "asset", "playback")}
        own = {self.upload.id, f"temp_{self.upload.id}", f"temp_playback_{self.upload.id}"}
        return bool(names & (own | ({self.asset.id} if self.asset else set())))


class Evidence:
    """What a run left: the journal by lesson, the videos by id, and the final rows."""

    def __init__(
        self,
        lives: Mapping[UUID, Life],
        assets: Mapping[str, Asset],
        journal: Sequence[Entry],
        now: float,
    ) -> None:
        self.lives = lives
        self.journal = journal
        self.now = now
        self.by_lesson: dict[UUID, list[Entry]] = defaultdict(list)
        for entry in journal:
            if entry.lesson is not None:
                self.by_lesson[entry.lesson].append(entry)
        self.videos: dict[UUID, list[Video]] = {
            lesson: [
                Video(lesson, number, upload, assets.get(upload.asset_id or ""))
                for number, upload in sorted(life.uploads.items())
            ]
            for lesson, life in lives.items()
        }
        self.by_id: dict[str, Video] = {}
        for videos in self.videos.values():
            for video in videos:
                self.by_id[video.upload.id] = video
                if video.asset is not None:
                    self.by_id[video.asset.id] = video

    def tracked_by(self, row: Json | None) -> Video | None:
        """Return the video that a row tracks."""
        if row is None:
            return None
        return self.by_id.get(row["asset"] if row["upload"] == "migrated" else row["upload"])

    def last(self, lesson: UUID, kind: str) -> Json | None:
        """Return a lesson or its row as it is now; None where there is none."""
        entries = [entry for entry in self.by_lesson[lesson] if entry.kind == kind]
        return entries[-1].new if entries else None

    def newest(self, lesson: UUID) -> Video | None:
        """Return the video that the app began last."""
        upload = self.lives[lesson].newest
        return self.by_id[upload.id] if upload else None


# Lost.


def unfinished(evidence: Evidence) -> Iterator[Violation]:
    """Yield the lessons that are not as the truth of Mux asks for, so far."""
    for lesson, life in evidence.lives.items():
        text = _what_is_missing(evidence, lesson, life)
        if text is not None:
            yield Violation("lost", f"lesson {lesson}: {text}")


def _what_is_missing(evidence: Evidence, lesson: UUID, life: Life) -> str | None:
    shown, row = evidence.last(lesson, "lesson"), evidence.last(lesson, "row")
    if life.has_done("delete"):
        return f"deleted, and there is {shown} {row}" if shown or row else None
    video = evidence.newest(lesson)
    if video is None or shown is None:
        return None if video is None else "there is no such lesson"
    if evidence.tracked_by(row) is not video or row is None:
        return f"its newest upload {video.upload.id} is not tracked: {row}"
    if video.ready_at is not None and video.ready_at <= evidence.now:
        return _unpublished(video, life, shown, row)
    return _unfailed(video, row, evidence.now) or _unrestored(evidence, lesson, shown)


def _unpublished(video: Video, life: Life, shown: Json, row: Json) -> str | None:
    status = "archived" if life.has_done("archive") else "published"
    found = row["status"], (row["asset"], row["playback"]), (shown["asset"], shown["playback"])
    if found == ("ready", video.ids, video.ids) and shown["status"] == status:
        return None
    return f"its video {video.ids} is ready: {shown} {row}"


def _unfailed(video: Video, row: Json, now: float) -> str | None:
    ending = video.timeline.ending
    ended_at = video.upload.cancelled_at or (
        video.asset.prepared_at if video.asset else video.upload.file_at
    )
    has_failed = ending != "ready" and ended_at is not None and ended_at <= now
    expected = "error" if has_failed else "processing"
    if row["status"] == expected:
        return None
    return f"its upload's ending is {ending}, and its row is {row['status']}, not {expected}"


def _unrestored(evidence: Evidence, lesson: UUID, shown: Json) -> str | None:
    """Where the newest cannot be played, the lesson plays the newest that it has played."""
    played = [v for v in _published(evidence, lesson) if v is not None]
    best = max(played, key=lambda video: video.number, default=None)
    if best is None or (shown["asset"], shown["playback"]) == best.ids:
        return None
    return f"it could play {best.ids}: {shown}"


def _published(evidence: Evidence, lesson: UUID) -> list[Video | None]:
    return [
        evidence.by_id.get(entry.new["asset"] or "")
        for entry in evidence.by_lesson[lesson]
        if entry.kind == "row" and entry.new and entry.new["status"] == "ready"
    ]


def recoveries(evidence: Evidence, faults: Sequence[Happened]) -> list[Recovery]:
    """Return how long each published lesson took; those published during a fault are left out."""
    found = []
    for lesson, life in evidence.lives.items():
        video = evidence.newest(lesson)
        if video is None or video.ready_at is None or life.has_done("delete", "publish"):
            continue
        recovery = _recovery(evidence.by_lesson[lesson], video, faults)
        if recovery is not None:
            found.append(recovery)
    return found


def _recovery(
    entries: Sequence[Entry], video: Video, faults: Sequence[Happened]
) -> Recovery | None:
    named = next((e for e in entries if video.is_named_by(e.new)), None)
    tracked = next((e for e in entries if e.kind == "row" and video.is_named_by(e.new)), None)
    done = next((e for e in entries if e.kind == "row" and _has_ready(e.new, video)), None)
    if named is None or tracked is None or done is None or video.ready_at is None:
        return None
    began = max(named.at, video.ready_at)
    mine = [f for f in faults if f.lesson in (None, video.lesson) and f.began_at < done.at]
    if any(fault.ended_at > done.at for fault in mine):
        return None
    waited_in = [fault for fault in mine if fault.ended_at > began]
    since = max((fault.ended_at for fault in waited_in), default=began)
    kinds = frozenset(fault.kind for fault in waited_in)
    return Recovery(video.lesson, max(0.0, done.at - since), tracked.is_of_worker, kinds)


def _has_ready(row: Json | None, video: Video) -> bool:
    return row is not None and row["status"] == "ready" and row["asset"] == video.ids[0]


def late(found: Sequence[Recovery], bounds: Bounds) -> Iterator[Violation]:
    """Yield what was published later than it may be."""
    for recovery in found:
        bound = bounds.adopted_seconds if recovery.is_adopted else bounds.tracked_seconds
        if recovery.seconds > bound:
            after = f" after {', '.join(sorted(recovery.after))}" if recovery.after else ""
            text = f"published {recovery.seconds:.1f} s late{after}; the bound is {bound:.1f} s"
            yield Violation("lost", f"lesson {recovery.lesson}: {text}")


def takeovers(evidence: Evidence, faults: Sequence[Happened]) -> Iterator[Takeover]:
    """Yield for each kill the rows that were leased then, and when something was done to them."""
    rows: dict[UUID, list[Entry]] = defaultdict(list)
    for entry in evidence.journal:
        if entry.kind == "schedule" and entry.tracking is not None:
            rows[entry.tracking].append(entry)
    for kill in (fault for fault in faults if fault.kind == "kill"):
        for tracking, entries in rows.items():
            before = [entry for entry in entries if entry.at <= kill.began_at]
            if before and before[-1].call == "worker_claim":
                done_at = next((e.at for e in entries[len(before) :]), evidence.now)
                yield _takeover(tracking, kill, done_at, faults)


def _takeover(
    tracking: UUID, kill: Happened, done_at: float, faults: Sequence[Happened]
) -> Takeover:
    waited_in = [f for f in faults if f.began_at < done_at and f.ended_at > kill.ended_at]
    since = max((fault.ended_at for fault in waited_in), default=kill.ended_at)
    return Takeover(tracking, since, max(0.0, done_at - since))


def not_taken_over(
    found: Sequence[Takeover], bounds: Bounds, lag: Callable[[float, float], float]
) -> Iterator[Violation]:
    """Yield the rows of killed workers that no other worker had in time.

    `lag` returns how long this process, which is the gateway too, stood still between two times.
    """
    for one in found:
        seconds = one.seconds - lag(one.since, one.since + one.seconds)
        if seconds > bounds.takeover_seconds:
            text = f"had {one.seconds:.1f} s after its worker was killed"
            bound = f"the bound is {bounds.takeover_seconds:.2f} s"
            yield Violation("lost", f"row {one.tracking}: {text}; {bound}")


# Wrong.


def wrong(evidence: Evidence) -> Iterator[Violation]:
    """Yield each value that a lesson or row should never have had."""
    for lesson, entries in evidence.by_lesson.items():
        if lesson not in evidence.lives:
            continue
        history: list[Video] = []
        for entry in entries:
            text = _what_is_wrong(evidence, entry, history)
            if text is not None:
                yield Violation("wrong", f"lesson {lesson}: {text}")


def _what_is_wrong(evidence: Evidence, entry: Entry, history: list[Video]) -> str | None:
    if entry.kind == "row" and entry.new is not None:
        return _wrongly_tracked(evidence, entry, history) or _wrong_ids(evidence, entry)
    if entry.kind == "lesson" and entry.is_of_worker and entry.changed("asset", "playback"):
        return _wrongly_shown(evidence, entry)
    return None


def _wrongly_tracked(evidence: Evidence, entry: Entry, history: list[Video]) -> str | None:
    """Say whether a row has begun to track what is older; `history` is what it tracked so far."""
    video = evidence.tracked_by(entry.new)
    if video is None or video.lesson != entry.lesson:
        return f"its row tracks {entry.new}, which is no upload of it"
    if history and history[-1] is video:
        return None
    if video in history:
        return f"its row tracks {video.upload.id} again, which is older"
    history.append(video)
    return None


def _wrong_ids(evidence: Evidence, entry: Entry) -> str | None:
    video, row = evidence.tracked_by(entry.new), entry.new or {}
    has_changed = entry.changed("status", "asset", "playback")
    if video is None or row["status"] != "ready" or not has_changed:
        return None
    if (row["asset"], row["playback"]) != video.ids:
        return f"its row of upload {video.upload.id} has the ids {row['asset']} {row['playback']}"
    return _too_early(video, entry)


def _too_early(video: Video, entry: Entry) -> str | None:
    if video.ready_at is not None and video.ready_at <= entry.at + CLOCK_SECONDS:
        return None
    return f"it was given {video.ids}, which is not ready"


def _wrongly_shown(evidence: Evidence, entry: Entry) -> str | None:
    """Say whether a worker gave a lesson a video that it must not play then."""
    shown = entry.new or {}
    video = evidence.by_id.get(shown["asset"] or "")
    ids = shown["asset"], shown["playback"]
    if video is None or video.lesson != entry.lesson or ids != video.ids:
        return f"it was given {ids}"
    tracked = evidence.tracked_by(entry.beside)
    if tracked is not None and video is not tracked:
        was_played = video in _published(evidence, video.lesson)
        is_over = (entry.beside or {})["status"] == "ready"
        if is_over or not was_played:
            return f"it was given upload {video.upload.id}, and tracks {tracked.upload.id}"
    return _too_early(video, entry)


# Torn.


def torn(evidence: Evidence) -> Iterator[Violation]:
    """Yield the worker's transactions that changed a lesson or its row, and not the rest."""
    together: dict[str, list[Entry]] = defaultdict(list)
    for entry in evidence.journal:
        if entry.is_of_worker and entry.kind != "schedule":
            together[entry.transaction].append(entry)
    for entries in together.values():
        events = {(e.lesson, (e.new or {})["event"]) for e in entries if e.kind == "event"}
        for entry in entries:
            text = _what_is_torn(entry, {name for lesson, name in events if lesson == entry.lesson})
            if text is not None:
                yield Violation("torn", f"lesson {entry.lesson}: {text}")


def _what_is_torn(entry: Entry, events: set[str]) -> str | None:
    if entry.kind == "lesson" and entry.new and entry.changed("status", "asset", "playback"):
        if not events & SETTLED_EVENTS:
            return f"changed from {entry.old} to {entry.new}, and its audit does not say so"
    elif entry.kind == "row" and entry.new and entry.changed("status"):
        beside = entry.beside or {}
        if entry.new["status"] == "ready":
            shown = beside.get("asset"), beside.get("playback")
            if shown != (entry.new["asset"], entry.new["playback"]):
                return f"its row became ready with {entry.new}, and it shows {shown}"
        if entry.new["status"] != "processing" and not events:
            return f"its row became {entry.new['status']}, and its audit does not say so"
    return None


# Duplicated.


def duplicated(
    evidence: Evidence, notifications: Mapping[UUID, int], bounds: Bounds
) -> Iterator[Violation]:
    """Yield what was published, or restored, or claimed once too often."""
    for lesson, entries in evidence.by_lesson.items():
        events = Counter(
            (entry.new["event"], entry.new["upload"], entry.new["asset"])
            for entry in entries
            if entry.kind == "event" and entry.new and entry.is_of_worker
        )
        for (event, upload, _), count in events.items():
            if event == "published" and count > 1:
                yield Violation("duplicated", f"lesson {lesson}: {upload} published {count} times")
        changes = [e for e in entries if e.kind == "lesson" and e.old and e.new]
        drafts = sum(e.changed("status") and (e.new or {})["status"] == "draft" for e in changes)
        if notifications.get(lesson, 0) > 1 + drafts:
            text = f"its students were notified {notifications[lesson]} times"
            yield Violation("duplicated", f"lesson {lesson}: {text}")
    yield from _claimed_twice(evidence, bounds)


def _claimed_twice(evidence: Evidence, bounds: Bounds) -> Iterator[Violation]:
    """Yield rows that were claimed, and within the lease again, with nothing in between."""
    last: dict[UUID, Entry] = {}
    for entry in evidence.journal:
        if entry.kind != "schedule" or entry.tracking is None:
            continue
        before, last[entry.tracking] = last.get(entry.tracking), entry
        if before is None or (before.call, entry.call) != ("worker_claim", "worker_claim"):
            continue
        if entry.at - before.at < bounds.lease_seconds - CLOCK_SECONDS:
            text = f"claimed twice within {entry.at - before.at:.2f} s of its lease"
            yield Violation("duplicated", f"row {entry.tracking}: {text}")
