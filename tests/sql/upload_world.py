"""Two instructors, the app's form, a simulated Mux and the worker, each acting step by step."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.course import let_pass
from tests.sql.instructor import Instructor
from tests.sql.service import Json, Service
from worker.backfill import publish
from worker.backfill.backfill import Backfill, Options, Road
from worker.cli.lessons import find_lesson
from worker.decide import Rules, settlement
from worker.errors import WorkerError
from worker.model import (
    UPLOAD_UNKNOWN,
    Claim,
    MatchedObservation,
    Observation,
    OnSent,
    Outcome,
    Page,
    PlaybackId,
    Query,
    Settlement,
    Source,
    ignore,
)
from worker.scan.adopter import Adopter
from worker.scan.observe import observe
from worker.supabase.backfill import BackfillStore
from worker.supabase.serialize import settlement_json
from worker.telemetry.hooks import Telemetry
from worker.telemetry.scan_report import ScanReport

Stage = Literal["unknown", "waiting", "timed_out", "preparing", "ready", "errored", "deleted"]
Ids = tuple[str | None, str | None]

RULES = Rules()
ENVIRONMENT = "environment"
HAS_ASSET: frozenset[Stage] = frozenset({"preparing", "ready", "errored", "deleted"})


@dataclass(slots=True, eq=False)
class Video:
    """A video at Mux: an upload, and the asset and playback id that it becomes."""

    name: str
    stage: Stage = "waiting"
    reference: str | None = None
    """The asset's `passthrough`."""

    replaced: int = 0
    """How often its playback id was replaced."""

    @property
    def upload(self) -> str:
        """Give the upload's id."""
        return f"up{self.name}"

    @property
    def asset(self) -> str:
        """Give the asset's id."""
        return f"as{self.name}"

    @property
    def playback(self) -> str:
        """Give the playback id."""
        return self._playback(self.replaced)

    @property
    def playbacks(self) -> tuple[str, ...]:
        """Return every playback id that it has had, the latest last."""
        return tuple(map(self._playback, range(self.replaced + 1)))

    def _playback(self, number: int) -> str:
        return f"play{self.name}" + "r" * number

    @property
    def ids(self) -> Ids:
        """Give what a lesson holds that plays this video."""
        return self.asset, self.playback

    def has(self, ids: Ids) -> bool:
        """Whether these ids are its asset's, with a playback id that it has had."""
        return ids[0] == self.asset and ids[1] in self.playbacks

    @property
    def placeholder(self) -> Ids:
        """Give what the form saves while it knows only the upload."""
        return f"temp_{self.upload}", f"temp_playback_{self.upload}"

    @property
    def has_asset(self) -> bool:
        """Whether Mux has its asset."""
        return self.stage in HAS_ASSET - {"deleted"}

    def seen_by_upload(self, source: Source = "probe") -> Observation:
        """Say what Mux tells about the upload, or about the asset that it became."""
        if self.has_asset:
            return Observation(
                "asset",
                self.stage,
                source,
                upload_id=self.upload,
                asset_id=self.asset,
                playback_ids=(PlaybackId(self.playback, "public"),),
                lesson_references=(self.reference,) if self.reference else (),
            )
        status = "missing" if self.stage == "unknown" else self.stage
        return Observation("upload", status, source, upload_id=self.upload)


@dataclass(slots=True)
class Mux:
    """What Mux knows, and answers the worker at once."""

    videos: dict[str, Video] = field(default_factory=dict)
    requests: int = 0

    def video(self, name: str, stage: Stage = "waiting", reference: str | None = None) -> Video:
        """Make a video."""
        made = self.videos[name] = Video(name, stage, reference)
        return made

    def by_id(self, mux_id: str | None) -> Video | None:
        """Find the video of an upload's, an asset's or a playback id."""
        videos = self.videos.values()
        return next((v for v in videos if mux_id in (v.upload, v.asset, *v.playbacks)), None)

    async def environment(self) -> str:
        """Name the token's environment."""
        return ENVIRONMENT

    async def upload(self, upload_id: str, sent: OnSent = ignore) -> Observation:
        """Answer about an upload."""
        video = self.by_id(upload_id)
        if video is None or video.upload != upload_id or video.stage == "unknown":
            return Observation("upload", "missing", "probe", upload_id=upload_id)
        has_asset = video.stage in HAS_ASSET
        status = "asset_created" if has_asset else video.stage
        asset_id = video.asset if has_asset else None
        return Observation("upload", status, "probe", upload_id=upload_id, asset_id=asset_id)

    async def asset(self, asset_id: str, sent: OnSent = ignore) -> Observation:
        """Answer about an asset."""
        return self.seen(asset_id)

    def seen(self, asset_id: str) -> Observation:
        """Say what Mux answers about an asset."""
        video = self.by_id(asset_id)
        if video is None or video.asset != asset_id or not video.has_asset:
            return Observation("asset", "missing", "probe", asset_id=asset_id)
        return video.seen_by_upload()

    async def asset_of(self, upload_id: str, sent: OnSent = ignore) -> Observation | None:
        """Answer which asset an upload became."""
        video = self.by_id(upload_id)
        return video.seen_by_upload() if video and video.has_asset else None

    async def control(self) -> None:
        """Answer the control question."""

    async def assets(self, at: str | None) -> Page:
        """List all assets."""
        videos = self.videos.values()
        return Page(tuple(v.seen_by_upload("sweep") for v in videos if v.has_asset), None)

    async def uploads(self, at: str | None) -> Page:
        """List all uploads."""
        known = (v.upload for v in self.videos.values() if v.stage != "unknown")
        return Page(tuple([await self.upload(upload) for upload in known]), None)


class Ledger(BackfillStore):
    """The worker's record of lessons, in the database, on the service's connection."""

    def __init__(self, service: Service) -> None:
        super().__init__(self._rpc)
        self._service = service
        self._types = cache(self._read_types)

    async def recorded_environment(self) -> str:
        """Name the environment without asking the doctor."""
        return ENVIRONMENT

    async def settle(
        self, settlements: Sequence[Settlement], environment_id: str | None
    ) -> list[Outcome]:
        """Settle verdicts."""
        items = map(settlement_json, settlements)
        result = self._service.settle(*items, environment=environment_id)
        return [Outcome.from_json(outcome) for outcome in result]

    async def stop_leading(self) -> None:
        """Do nothing: this worker is alone."""

    async def _rpc(self, function: str, params: Json) -> Any:
        types = self._types(function)
        named = ", ".join(f"{name} => %({name})s::{types[name]}" for name in params)
        values = {n: Jsonb(v) if types[n] == "jsonb" else v for n, v in params.items()}
        return _one(self._service.connection, f"select {function}({named})", values)

    def _read_types(self, function: str) -> dict[str, str]:
        found: dict[str, str] = _one(
            self._service.connection,
            "select jsonb_object_agg(a.name, a.type::regtype::text) from pg_proc p, "
            "unnest(p.proargnames, p.proargtypes::oid[]) as a (name, type) "
            "where p.oid = %s::regproc and a.type is not null",
            [function],
        )
        return found


class World:
    """Does what the app, two instructors, Mux's webhooks, the worker and an operator do."""

    def __init__(
        self, db: psycopg.Connection, service: Service, anna: Instructor, bert: Instructor
    ) -> None:
        self.db, self.service, self.anna, self.bert = db, service, anna, bert
        self.mux = Mux()
        self._ledger = Ledger(service)

    # What an instructor's browser sends.

    def makes(
        self, by: Instructor, lesson: UUID | None = None, holds: Ids = (None, None), **more: Any
    ) -> UUID:
        """Make a lesson, with an id of one's choice if given."""
        values = {"creator_id": by.user, "title": "A lesson", **more}
        values |= {"mux_asset_id": holds[0], "mux_playback_id": holds[1]}
        values |= {} if lesson is None else {"id": lesson}
        marks = ", ".join(f"%({name})s" for name in values)
        made: UUID = _one(
            by.connection,
            f"insert into lessons ({', '.join(values)}) values ({marks}) returning id",
            values,
        )
        return made

    def saves(self, by: Instructor, lesson: UUID, holds: Ids, status: str | None = None) -> None:
        """Save the form, with the ids that it knows of, and as a draft if it says so."""
        by.connection.execute(
            "update lessons set mux_asset_id = %s, mux_playback_id = %s, "
            "status = coalesce(%s, status), updated_at = now() where id = %s",
            [*holds, status, lesson],
        )

    def upserts(self, by: Instructor | Service, lesson: UUID, video: Video) -> None:
        """Track an upload with the app's own upsert."""
        by.connection.execute(
            "insert into mux_asset_tracking (lesson_id, upload_id, temp_asset_id, status, "
            "updated_at) values (%s, %s, %s, 'processing', now()) on conflict (lesson_id) do "
            "update set lesson_id = excluded.lesson_id, upload_id = excluded.upload_id, "
            "temp_asset_id = excluded.temp_asset_id, status = excluded.status, "
            "updated_at = excluded.updated_at",
            [lesson, video.upload, video.placeholder[0]],
        )

    def drops_row(self, by: Instructor, lesson: UUID) -> None:
        """Delete the tracking row."""
        by.connection.execute("delete from mux_asset_tracking where lesson_id = %s", [lesson])

    def deletes(self, by: Instructor, lesson: UUID) -> None:
        """Delete the lesson."""
        by.connection.execute("delete from lessons where id = %s", [lesson])

    def runs_script(self, lesson: UUID) -> None:
        """Run the report's script over a draft with a real asset, with the service's key."""
        state = self.state(lesson)
        asset = state["mux_asset_id"]
        if state["status"] != "draft" or asset is None or asset.startswith("temp_"):
            return
        seen = self.mux.seen(asset)
        status, columns = "processing", {"upload_id": UPLOAD_UNKNOWN, "mux_asset_id": asset}
        if seen.status == "ready":
            status = "ready"
            columns["mux_playback_id"] = seen.playback_ids[0].id
            self.service.connection.execute(
                "update lessons set status = 'published', mux_playback_id = %s, "
                "updated_at = now() where id = %s",
                [columns["mux_playback_id"], lesson],
            )
        elif seen.status == "errored":
            status, columns["error_message"] = "error", "it cannot be played"
        values = {"lesson_id": lesson, **columns, "status": status}
        marks = ", ".join(f"%({name})s" for name in values)
        sets = ", ".join(f"{name} = excluded.{name}" for name in [*values, "updated_at"])
        self.service.connection.execute(
            f"insert into mux_asset_tracking ({', '.join(values)}, created_at, updated_at) "
            f"values ({marks}, now(), now()) on conflict (lesson_id) do update "
            f"set {sets}, created_at = excluded.created_at".encode(),
            values,
        )

    # What the worker does.

    def scan(self) -> list[Json]:
        """Let everything fall due, look at all of it, and settle; give the outcomes."""
        self.db.execute("update mux_private.schedule set next_check_at = now() where true")
        return asyncio.run(self._scan())

    async def _scan(self) -> list[Json]:
        """Look at what is due, and settle; give the outcomes."""
        rows = self.service.claim()
        items = await self._look_at(rows)
        outcomes = self.service.settle(*items, environment=ENVIRONMENT)
        self.service.release(rows)
        await self._adopts_newer(outcomes)
        return outcomes

    def looks_at(self, rows: Sequence[Json]) -> list[Json]:
        """Ask Mux about claimed rows; return what is to be settled."""
        return asyncio.run(self._look_at(rows))

    async def _look_at(self, rows: Sequence[Json]) -> list[Json]:
        claims = {claim.id: claim for claim in map(Claim.from_json, rows)}
        matches = await self._observe([claim.query for claim in claims.values()])
        settlements = (
            settlement(m.observation, tuple((claims[q.key], 0.5) for q in m.queries), RULES)
            for m in matches
        )
        return [settlement_json(one) for one in settlements]

    async def _observe(self, queries: Sequence[Query]) -> list[MatchedObservation]:
        pages = observe(queries, self.mux, asyncio.Event())
        return [match async for page in pages for match in page]

    def lets_time_pass(self) -> None:
        """Let half an hour pass, after which what is missing has had its grace."""
        let_pass(self.db, 1800)

    def settles_all(self) -> None:
        """Scan until nothing waits that can be decided by now."""
        for _ in range(4):
            self.scan()
            self.lets_time_pass()

    def hears(self, *seen: Observation) -> list[Json]:
        """Settle what events say, about whichever rows they concern."""
        outcomes = self.service.settle(*(settlement_json(settlement(s, (), RULES)) for s in seen))
        self.adopts_newer(outcomes)
        return outcomes

    def adopts_newer(self, outcomes: Sequence[Json]) -> None:
        """Adopt what was not settled since the lesson names a newer upload."""
        asyncio.run(self._adopts_newer(outcomes))

    async def _adopts_newer(self, outcomes: Sequence[Json]) -> None:
        """Adopt, as the worker does, what was not settled since the lesson names a newer upload."""
        await self._adopt(o["lesson_id"] for o in outcomes if o.get("reason") == "names_newer")

    async def _adopt(self, lesson_ids: Iterable[str]) -> None:
        await Adopter(self.mux, self._ledger).adopt([{"lesson_id": id_} for id_ in lesson_ids])

    def hears_of(self, video: Video) -> list[Json]:
        """Settle what an event says that Mux sends now."""
        return self.hears(video.seen_by_upload("webhook"))

    def hears_deleted(self, video: Video) -> None:
        """Have an asset be deleted at Mux, and its event arrive."""
        video.stage = "deleted"
        self.hears(Observation("asset", "deleted", "webhook", video.upload, video.asset))

    def walks(self) -> None:
        """Let the periodic adoption come to every lesson."""
        asyncio.run(self._walk())

    async def _walk(self) -> None:
        await self._adopt(await self._ledger.untracked(2000, 100))

    def backfills(self) -> None:
        """Run a backfill over all lessons."""
        asyncio.run(self._backfill())

    async def _backfill(self) -> None:
        async def scan() -> ScanReport:
            report = ScanReport()
            report.claimed = len(await self._scan())
            return report

        adopter = Adopter(self.mux, self._ledger)
        road = Road(self.mux, self._ledger, self._ledger, adopter, scan, RULES, Telemetry())
        await Backfill(road, Options(), asyncio.Event()).apply(lambda _: None)

    def publishes_by_hand(self, lesson: UUID) -> str | None:
        """Publish a lesson as an operator does; give the reason if that is refused."""
        try:
            asyncio.run(self._publish(str(lesson)))
        except WorkerError as refused:
            return str(refused)
        return None

    async def _publish(self, lesson_id: str) -> None:
        lesson = await find_lesson(self._ledger, lesson_id)
        await publish.publish(lesson, self.mux, self._ledger, RULES, ("Olga", None))

    def retries(self, lesson: UUID) -> None:
        """Have an operator look at a failed upload again."""
        query = "select worker_retry(lesson_ids => %s::text[], operator => 'Olga')"
        _one(self.service.connection, query, [[lesson]])

    # What came of it.

    def state(self, lesson: UUID) -> Json:
        """Read a lesson."""
        return _read(self.db, b"select * from lessons where id = %s", lesson)

    def row(self, lesson: UUID) -> Json:
        """Read a tracking row."""
        query = (
            b"select t.*, s.next_check_at from mux_asset_tracking t "
            b"left join mux_private.schedule s on s.tracking_id = t.id where t.lesson_id = %s"
        )
        return _read(self.db, query, lesson)

    def shows(self, lesson: UUID) -> tuple[str, str | None, str | None]:
        """Give a lesson's status and ids."""
        state = self.state(lesson)
        return state["status"], state["mux_asset_id"], state["mux_playback_id"]

    def tracks(self, lesson: UUID) -> tuple[str, str]:
        """Give the upload that the row tracks, and the row's status."""
        row = self.row(lesson)
        return row["upload_id"], row["status"]


def _one(connection: psycopg.Connection, query: str, values: Any = None) -> Any:
    row = connection.execute(query.encode(), values).fetchone()
    assert row is not None
    return row[0]


def _read(db: psycopg.Connection, query: bytes, lesson: UUID) -> Json:
    with db.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(query, [lesson]).fetchone()
    assert row is not None
    return row
