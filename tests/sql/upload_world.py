"""Two instructors, the app's form, a simulated Mux and the worker, each acting step by step."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import psycopg
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from tests.sql.instructor import Instructor
from tests.sql.service import Json, Service
from worker.decide import Rules, settlement
from worker.model import UPLOAD_UNKNOWN, Claim, Observation, PlaybackId, Source
from worker.wire import settlement_json

Stage = Literal["unknown", "waiting", "timed_out", "preparing", "ready", "errored", "deleted"]
Ids = tuple[str | None, str | None]

RULES = Rules()
HAS_ASSET: frozenset[Stage] = frozenset({"preparing", "ready", "errored", "deleted"})


@dataclass(slots=True, eq=False)
class Video:
    """A video at Mux: an upload, and the asset and playback id that it becomes."""

    name: str
    stage: Stage = "waiting"
    reference: str | None = None
    """The asset's `passthrough`."""

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
        return f"play{self.name}"

    @property
    def ids(self) -> Ids:
        """Give what a lesson holds that plays this video."""
        return self.asset, self.playback

    @property
    def placeholder(self) -> Ids:
        """Give what the form saves while it knows only the upload."""
        return f"temp_{self.upload}", f"temp_playback_{self.upload}"

    def seen_by_upload(self, source: Source = "probe") -> Observation:
        """Say what Mux answers about the upload, and about the asset that it names."""
        match self.stage:
            case "unknown":
                return Observation("upload", "missing", source, upload_id=self.upload)
            case "waiting" | "timed_out":
                return Observation("upload", self.stage, source, upload_id=self.upload)
            case _:
                return self._seen(source, self.upload)

    def seen_by_asset(self, source: Source = "probe") -> Observation:
        """Say what Mux answers about the asset alone."""
        exists = self.stage in HAS_ASSET - {"deleted"}
        return self._seen(source, self.upload if exists else None)

    def _seen(self, source: Source, upload_id: str | None) -> Observation:
        if self.stage not in HAS_ASSET - {"deleted"}:
            return Observation("asset", "missing", source, upload_id, self.asset)
        return Observation(
            "asset",
            self.stage,
            source,
            upload_id=upload_id,
            asset_id=self.asset,
            playback_ids=(PlaybackId(self.playback, "public"),),
            claims=(self.reference,) if self.reference else (),
        )


@dataclass(slots=True)
class Mux:
    """What Mux knows, by id."""

    videos: dict[str, Video] = field(default_factory=dict)

    def video(self, name: str, stage: Stage = "waiting", reference: str | None = None) -> Video:
        """Make a video."""
        made = self.videos[name] = Video(name, stage, reference)
        return made

    def look(self, claim: Claim) -> Observation:
        """Answer what the worker asks about a claimed row."""
        if claim.upload_id != UPLOAD_UNKNOWN:
            found = self.by_id(claim.upload_id)
            if found is None:
                return Observation("upload", "missing", "probe", upload_id=claim.upload_id)
            return found.seen_by_upload()
        if claim.asset_id is None:
            return Observation("none", "unaskable", "probe", error_message="no id")
        return self.asset(claim.asset_id)

    def asset(self, asset_id: str) -> Observation:
        """Answer what the worker asks about an asset."""
        found = self.by_id(asset_id)
        if found is None:
            return Observation("asset", "missing", "probe", asset_id=asset_id)
        return found.seen_by_asset()

    def by_id(self, mux_id: str | None) -> Video | None:
        """Find the video of an upload's, an asset's or a playback id."""
        videos = self.videos.values()
        return next((v for v in videos if mux_id in (v.upload, v.asset, v.playback)), None)


class World:
    """Does what the app, two instructors, Mux's webhooks, the worker and an operator do."""

    def __init__(
        self, db: psycopg.Connection, service: Service, anna: Instructor, bert: Instructor
    ) -> None:
        self.db, self.service, self.anna, self.bert = db, service, anna, bert
        self.mux = Mux()

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
        seen = self.mux.asset(asset)
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
        self.db.execute(
            "update mux_asset_tracking set next_check_at = now() where status = 'processing'"
        )
        rows = self.service.claim()
        claims = [Claim.from_json(row) for row in rows]
        outcomes = self.service.settle(
            *(
                settlement_json(settlement(self.mux.look(claim), ((claim, 0.5),), RULES))
                for claim in claims
            ),
            environment="environment",
        )
        self.service.release(rows)
        return outcomes

    def lets_time_pass(self) -> None:
        """Let half an hour pass, after which what is missing has had its grace."""
        self.db.execute(
            "update mux_asset_tracking set tracked_at = tracked_at - interval '30 minutes', "
            "missing_since = missing_since - interval '30 minutes' where status = 'processing'"
        )

    def settles_all(self) -> None:
        """Scan until nothing waits that can be decided by now."""
        for _ in range(4):
            self.scan()
            self.lets_time_pass()

    def hears(self, *seen: Observation) -> list[Json]:
        """Settle what events say, about whichever rows they concern."""
        return self.service.settle(*(settlement_json(settlement(s, (), RULES)) for s in seen))

    def hears_of(self, video: Video) -> list[Json]:
        """Settle what an event says that Mux sends now."""
        return self.hears(video.seen_by_upload("webhook"))

    def hears_deleted(self, video: Video) -> None:
        """Have an asset be deleted at Mux, and its event arrive."""
        video.stage = "deleted"
        observation = {"source": "webhook", "upload_id": video.upload, "asset_id": video.asset}
        fact = {"upload_id": video.upload, "asset_id": video.asset, "observation": observation}
        fact |= {"note": "deleted", "verdict": "wait", "reason": "asset_deleted"}
        _one(self.service.connection, "select worker_take_note(%s)", [Jsonb([fact])])

    def adopts(self, *lessons: UUID, by_hand: bool = False) -> list[Json]:
        """Adopt these lessons, or the next few of the walk; ask Mux about assets where needed.

        This alone knows how the database's function is called.
        """
        told = self._adopt(list(lessons) or None, [], by_hand)
        asked = [one for one in told if one["outcome"] == "ask"]
        if not asked:
            return told
        known = [self._known(one["asset_id"]) for one in asked]
        again = self._adopt([UUID(one["lesson_id"]) for one in asked], known, by_hand)
        return [one for one in told if one["outcome"] != "ask"] + again

    def _known(self, asset_id: str) -> Json:
        seen = self.mux.asset(asset_id)
        playback_id = next((playback.id for playback in seen.playback_ids), None)
        return {
            "asset_id": asset_id,
            "upload_id": seen.upload_id,
            "status": seen.status,
            "playback_id": playback_id if seen.status == "ready" else None,
        }

    def _adopt(
        self, lessons: Sequence[UUID] | None, known: list[Json], by_hand: bool
    ) -> list[Json]:
        told: list[Json] = _one(
            self.service.connection,
            "select worker_adopt(lesson_ids => %s::uuid[], known => %s, by_hand => %s, "
            "lease_seconds => 60)",
            [lessons, Jsonb(known), by_hand],
        )
        return told

    def walks(self) -> None:
        """Let the periodic adoption come to every lesson."""
        for _ in range(3):
            self.adopts()

    def publishes_by_hand(self, lesson: UUID) -> list[Json]:
        """Publish a lesson as an operator does: adopt it, look at Mux once, settle."""
        told = self.adopts(lesson, by_hand=True)
        if told[0]["outcome"] in ("adopted", "tracked"):
            self.scan()
        return told

    def retries(self, lesson: UUID) -> None:
        """Have an operator look at a failed upload again."""
        query = "select worker_retry(lesson_ids => %s::uuid[], operator => 'Olga')"
        _one(self.service.connection, query, [[lesson]])

    # What came of it.

    def state(self, lesson: UUID) -> Json:
        """Read a lesson."""
        return _read(self.db, b"select * from lessons where id = %s", lesson)

    def row(self, lesson: UUID) -> Json:
        """Read a tracking row."""
        return _read(self.db, b"select * from mux_asset_tracking where lesson_id = %s", lesson)

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
