"""A story of two instructors and their lessons, told act by act, with the oracle as its judge."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal
from uuid import UUID

import psycopg
from hypothesis import strategies as st

from tests.sql.instructor import Instructor
from tests.sql.service import Service
from tests.sql.upload_oracle import By, Life, Oracle, Row, Seen, Uploads
from tests.sql.upload_world import Stage, Video, World
from worker.model import Observation

InApp = Literal[
    "saves", "saves_real", "tracks", "upserts", "drops", "unpublishes", "script", "publishes"
]
AtMux = Literal["becomes", "event", "late"]
ByWorker = Literal["scan", "patience", "walk", "backfill", "by_hand", "retry"]
Verb = InApp | AtMux | ByWorker | Literal["deletes", "makes"]

NEXT: dict[Stage, tuple[Stage, ...]] = {
    "unknown": ("ready", "preparing", "waiting"),
    "waiting": ("ready", "preparing", "timed_out"),
    "preparing": ("ready", "errored"),
    "ready": ("deleted",),
    "timed_out": (),
    "errored": (),
    "deleted": (),
}
"""What may become of a video at Mux."""

REFUSED = {"PT400", "PT409"}
"""With what an instructor may be kept from publishing by hand."""

READ = b"""
    select l.id, l.status, l.mux_asset_id, l.mux_playback_id,
      t.upload_id, t.mux_asset_id, t.mux_playback_id, t.status::text
    from lessons l left join mux_asset_tracking t on t.lesson_id = l.id
    where l.id = any(%s)"""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is done, where it says so to a lesson, with a video, in another `way`."""

    verb: Verb
    lesson: int = 0
    video: int = 0
    way: int = 0


def _acts() -> st.SearchStrategy[Act]:
    lessons = st.sampled_from([0, 0, 0, 1, 2, 3])
    videos = st.sampled_from([0, 1, 2, 0, 1, 2, 3, 4])
    ways, nothing = st.integers(0, 2), st.just(0)

    def acts(
        verbs: list[Verb], *values: st.SearchStrategy[int], lesson: bool = True
    ) -> st.SearchStrategy[Act]:
        return st.builds(Act, st.sampled_from(verbs), lessons if lesson else nothing, *values)

    return st.one_of(
        acts(["scan", "walk", "scan", "walk", "patience", "backfill"], lesson=False),
        acts(["saves", "tracks", "saves_real", "upserts"], videos),
        acts(["saves", "saves_real"], videos, ways),
        acts(["publishes", "by_hand", "unpublishes", "script", "drops"]),
        acts(["becomes", "becomes", "event", "late"], videos, ways, lesson=False),
        acts(["deletes", "makes", "retry"], nothing, ways),
    )


def stories() -> st.SearchStrategy[list[Act]]:
    """Make up stories; in chapters, since lists alone are mostly short."""
    chapters = st.lists(st.lists(_acts(), min_size=1, max_size=10), min_size=1, max_size=8)
    return chapters.map(lambda result: [act for chapter in result for act in chapter])


class Story:
    """Tells acts to the database and to the oracle; where they disagree is an error.

    Lessons 0 and 1 are Anna's, 2 and 3 Bert's, and 3 has Anna's user id. Of the videos, 1 and 4
    name a user in `passthrough`, 2 a lesson of Anna's; 3 is not yet known to Mux. What an act asks
    for that can't be done is left out. Each story has ids of its own.
    """

    def __init__(
        self,
        db: psycopg.Connection,
        service: Service,
        browsers: tuple[psycopg.Connection, psycopg.Connection],
        number: int,
    ) -> None:
        self.lessons = [UUID(int=number << 64 | n) for n in range(1, 5)]
        users = self.lessons[3], UUID(int=number << 64 | 5)
        anna, bert = (
            Instructor(browser, user) for browser, user in zip(browsers, users, strict=True)
        )
        self._world = World(db, service, anna, bert)
        self._oracle = Oracle(self._world.mux)
        self._makers = [anna, anna, bert, bert]
        references = None, str(anna.user), str(self.lessons[0]), None, str(bert.user)
        self._videos = [
            self._world.mux.video(f"{number}x{n}", "unknown" if n == 3 else "waiting", reference)
            for n, reference in enumerate(references)
        ]
        self._said: list[Observation] = []
        for lesson, by in zip(self.lessons, self._makers, strict=True):
            self._makes(lesson, by)

    def tell(self, acts: Iterable[Act]) -> None:
        """Act, then let all be decided."""
        for number, act in enumerate(acts):
            try:
                self.act(act)
            except AssertionError as error:
                error.add_note(f"at act {number}: {act}")
                raise
        self.ends()

    def act(self, act: Act) -> None:
        """Do one thing, and judge what came of it."""
        life = self._oracle.lives.get(self.lessons[act.lesson])
        match act.verb:
            case "becomes" | "event" | "late":
                self._at_mux(act.verb, self._videos[act.video], act.way)
            case "scan":
                self._scans()
            case "patience":
                self._world.lets_time_pass()
                self._scans()
            case "walk":
                self._adopts(self._world.walks)
            case "backfill":
                self._adopts(self._world.backfills)
            case _ if life is not None:
                self._with_lesson(act, life)
            case "makes":
                by = self._makers[(act.lesson + 2 * act.way) % 4]
                self._makes(self.lessons[act.lesson], by)

    def _with_lesson(self, act: Act, life: Life) -> None:
        match act.verb:
            case "deletes":
                self._world.deletes(self._owner(life), life.lesson)
                self._oracle.is_deleted(life.lesson)
            case "by_hand" | "retry":
                self._operates(act.verb, life)
            case "script" | "publishes":
                self._helps(act.verb, life)
            case _:
                self._in_app(act, life, self._videos[act.video])

    def _in_app(self, act: Act, life: Life, video: Video) -> None:
        world, by, lesson = self._world, self._owner(life), life.lesson
        draft = "draft" if act.way == 1 else None
        tracks = self._oracle.after_tracking(life, video)
        match act.verb:
            case "saves":
                self._app(life, lambda: world.saves(by, lesson, video.placeholder, draft))
            case "saves_real" if video.stage in ("preparing", "ready", "errored"):
                holds = (video.asset, None if act.way == 2 else video.playback)
                self._app(life, lambda: world.saves(by, lesson, holds, draft))
            case "unpublishes":
                self._app(life, lambda: world.saves(by, lesson, life.seen.holds, "draft"))
            case "tracks":
                self._app(life, lambda: by.track_upload(lesson, video.upload), tracks)
            case "upserts":
                self._app(life, lambda: world.upserts(by, lesson, video), tracks)
            case "drops":
                self._app(life, lambda: world.drops_row(by, lesson), {None})

    def _app(self, life: Life, do: Callable[[], object], tracks: Uploads | None = None) -> None:
        lesson = life.lesson
        self._step(do, {lesson: {life.current} if tracks is None else tracks}, {lesson: "app"})

    def _helps(self, verb: Literal["script", "publishes"], life: Life) -> None:
        """Use what the report has for lessons that stay drafts: its script, and its button."""
        lesson, asset = life.lesson, life.seen.holds[0]
        if verb == "publishes":
            tracks = {lesson: self._oracle.after_publishing(life)}
            self._step(
                lambda: _may_publish(self._owner(life), lesson), tracks, {lesson: "instructor"}
            )
        elif life.seen.status == "draft" and asset and not asset.startswith("temp_"):
            tracks = {lesson: self._oracle.after_script(life)}
            self._step(lambda: self._world.runs_script(lesson), tracks, {lesson: "app"})

    def _at_mux(self, verb: AtMux, video: Video, way: int) -> None:
        said = [seen for seen in self._said if seen.upload_id == video.upload]
        match verb:
            case "becomes" if NEXT[video.stage]:
                video.stage = NEXT[video.stage][way % len(NEXT[video.stage])]
                if video.stage == "deleted":
                    self._is_deleted(video)
                else:
                    self._said.append(video.seen_by_upload("webhook"))
            case "event" if said:
                self._hears(said[-1])
            case "late" if said:
                self._hears(said[way % len(said)])

    def _is_deleted(self, video: Video) -> None:
        self._oracle.is_gone(video)
        self._step(lambda: self._world.hears_deleted(video))

    def _hears(self, *said: Observation) -> None:
        for seen in said:
            if video := self._world.mux.by_id(seen.asset_id):
                self._oracle.is_linked(video)
        self._adopts(lambda: self._world.hears(*said))

    def _adopts(self, do: Callable[[], object]) -> None:
        may_adopt = {
            lesson: self._oracle.after_adoption(life) | {life.current}
            for lesson, life in self._oracle.lives.items()
        }
        self._step(do, may_adopt)

    def _scans(self) -> None:
        for life in self._oracle.lives.values():
            is_waiting = life.seen.row is not None and life.seen.row.status == "processing"
            video = life.current
            if is_waiting and video and video.stage in ("preparing", "ready", "errored"):
                self._oracle.is_linked(video)
        self._adopts(self._world.scan)

    def _operates(self, verb: Literal["by_hand", "retry"], life: Life) -> None:
        lesson = life.lesson
        if verb == "retry":
            self._step(lambda: self._world.retries(lesson))
            return
        tracks = {lesson: self._oracle.after_adoption(life, by_hand=True)}
        self._step(lambda: self._world.publishes_by_hand(lesson), tracks, {lesson: "operator"})

    def _step(
        self,
        do: Callable[[], object],
        may_track: Mapping[UUID, Uploads] | None = None,
        by: Mapping[UUID, By] | None = None,
    ) -> None:
        """Do something, and judge every lesson by what may have become of it."""
        do()
        seen = self._read()
        for lesson, life in self._oracle.lives.items():
            tracks = (may_track or {}).get(lesson, {life.current})
            try:
                self._oracle.follows(life, seen[lesson], tracks, (by or {}).get(lesson, "worker"))
            except AssertionError as error:
                error.add_note(f"of lesson {self.lessons.index(lesson)}, which was {life.seen}")
                raise

    def ends(self) -> None:
        """Let every event arrive, and the worker come by until nothing is left to do."""
        for video in self._videos:
            if video.stage == "deleted":
                self._is_deleted(video)
            elif video.stage not in ("unknown", "waiting"):
                self._hears(video.seen_by_upload("webhook"))
        for _ in range(2):
            for _ in range(3):
                self._adopts(self._world.walks)
            for _ in range(3):
                self._world.lets_time_pass()
                self._scans()
        for lesson, life in self._oracle.lives.items():
            try:
                self._oracle.settled(life)
            except AssertionError as error:
                error.add_note(f"of lesson {self.lessons.index(lesson)}, which is {life.seen}")
                raise
        before = self._read()
        self._adopts(self._world.walks)
        self._scans()
        assert self._read() == before, "it does not come to rest"

    def _read(self) -> dict[UUID, Seen]:
        rows = self._world.db.execute(READ, [self.lessons]).fetchall()
        return {
            lesson: Seen(
                status, (asset, playback), Row(row[0], (row[1], row[2]), row[3]) if row[0] else None
            )
            for lesson, status, asset, playback, *row in rows
        }

    def _makes(self, lesson: UUID, by: Instructor) -> None:
        self._world.makes(by, lesson)
        self._oracle.is_made(lesson, by.user, self._read()[lesson])

    def _owner(self, life: Life) -> Instructor:
        return next(by for by in self._makers if by.user == life.owner)


def _may_publish(by: Instructor, lesson: UUID) -> None:
    """Publish by hand, or be refused with a reason."""
    try:
        by.publish_lesson(lesson)
    except psycopg.Error as refused:
        if refused.sqlstate not in REFUSED:
            raise
