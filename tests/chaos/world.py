"""The app and its instructors: plays the stories against the database and the simulated Mux."""

import heapq
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg

from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Asset, AssetSettings, Timeline
from sandbox.mux.timeline import Upload as MuxUpload
from sandbox.supabase.stack import LocalSupabase
from tests.chaos.plan import BEGINNINGS, Step, Story

PLAYERS = 3
"""Threads that share the stories."""

RETRY_SECONDS = 0.1

CREATE = (
    "insert into lessons (id, creator_id, title) values (%s, %s, 'A lesson') on conflict do nothing"
)
SAVE = (
    "update lessons set mux_asset_id = %s, mux_playback_id = %s,"
    " status = coalesce(%s, status), updated_at = now() where id = %s"
)
TRACK = "select track_upload(%s::text, %s, %s)"
UPSERT = (
    "insert into mux_asset_tracking (lesson_id, upload_id, status, updated_at)"
    " values (%s, %s, 'processing', now()) on conflict (lesson_id) do update"
    " set upload_id = excluded.upload_id, status = excluded.status,"
    " updated_at = excluded.updated_at"
)
PUBLISH = "select publish_lesson(%s::text)"
ARCHIVE = "update lessons set status = 'archived', updated_at = now() where id = %s"
DELETE = "delete from lessons where id = %s"

OnSent = Callable[[MuxUpload], None]


@dataclass(slots=True)
class Life:
    """A story as far as it was played: the uploads that exist, and which steps are done."""

    story: Story
    uploads: dict[int, MuxUpload] = field(default_factory=dict)
    done: list[Step] = field(default_factory=list)

    @property
    def newest(self) -> MuxUpload | None:
        """Return the upload that the app began last."""
        begun = [step.upload for step in self.done if step.action in BEGINNINGS]
        return self.uploads[max(begun)] if begun else None

    @property
    def is_unfinished(self) -> bool:
        """Whether steps are left."""
        return len(self.done) < len(self.story.steps)

    def has_done(self, *actions: str) -> bool:
        """Whether one of these steps is done."""
        return any(step.action in actions for step in self.done)


class World:
    """Plays stories in threads, each step once and in order, however often the database fails.

    It talks to the database directly: faults of the gateway are for the worker alone.
    """

    def __init__(
        self,
        supabase: LocalSupabase,
        mux: MuxSimulator,
        stories: Sequence[Story],
        on_sent: OnSent = lambda _: None,
    ) -> None:
        self._supabase = supabase
        self._mux = mux
        self._on_sent = on_sent
        self._threads: list[threading.Thread] = []
        self.lives = {story.lesson: Life(story) for story in stories}

    def play_before(self, began_at: float) -> None:
        """Play the steps that come before the beginning, which is at unix time `began_at`."""
        player = self._player(list(self.lives.values()), began_at)
        player.run(until=0.0)

    def start(self, began_at: float) -> None:
        """Play the other steps, each at its time."""
        lives = list(self.lives.values())
        for number in range(PLAYERS):
            player = self._player(lives[number::PLAYERS], began_at)
            thread = threading.Thread(target=player.run, name=f"player-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def join(self, seconds: float) -> None:
        """Wait until all steps are done."""
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        undone = [life.story for life in self.lives.values() if life.is_unfinished]
        assert not undone, f"these stories were not played to their end: {undone[:3]}"

    def in_flight(self) -> list[Life]:
        """Return the lessons whose newest upload Mux is encoding."""
        now = self._mux.state.clock.now()
        preparing = {a.id for a in self._mux.state.all_assets() if now < a.prepared_at}
        lives = list(self.lives.values())
        return [life for life in lives if (u := life.newest) and u.asset_id in preparing]

    def _player(self, lives: Sequence[Life], began_at: float) -> "_Player":
        return _Player(self._supabase, self._mux, lives, began_at, self._on_sent)


def asset_of(mux: MuxSimulator, upload: MuxUpload) -> Asset | None:
    """Return what an upload became or will become, once its file is sent."""
    found = (asset for asset in mux.state.all_assets() if asset.id == upload.asset_id)
    return next(found, None)


def placeholder(upload_id: str) -> tuple[str, str]:
    """Return the two temporary ids that the app writes."""
    return f"temp_{upload_id}", f"temp_playback_{upload_id}"


class _Player:
    """One thread's stories, and its connection."""

    def __init__(
        self,
        supabase: LocalSupabase,
        mux: MuxSimulator,
        lives: Sequence[Life],
        began_at: float,
        on_sent: OnSent,
    ) -> None:
        self._supabase = supabase
        self._mux = mux
        self._lives = lives
        self._began_at = began_at
        self._on_sent = on_sent
        self._connection: psycopg.Connection | None = None

    def run(self, until: float | None = None) -> None:
        queue = [
            (life.story.steps[len(life.done)].at, number)
            for number, life in enumerate(self._lives)
            if life.is_unfinished
        ]
        heapq.heapify(queue)
        while queue:
            at, number = heapq.heappop(queue)
            if until is not None and at >= until:
                break
            time.sleep(max(0.0, self._began_at + at - time.time()))
            life = self._lives[number]
            self._do(life, life.story.steps[len(life.done)])
            if life.is_unfinished:
                heapq.heappush(queue, (life.story.steps[len(life.done)].at, number))
        if self._connection is not None:
            self._connection.close()

    def _do(self, life: Life, step: Step) -> None:
        upload = life.uploads.get(step.upload)
        if step.action in BEGINNINGS and upload is None:
            upload = life.uploads[step.upload] = self._create_upload(life, step)
        if step.action == "send":
            assert upload is not None
            self._mux.state.receive_file(upload.url_token)
            self._on_sent(upload)
        else:
            self._until_committed(life.story.owner, _statements(life, step, upload, self._mux))
        life.done.append(step)

    def _create_upload(self, life: Life, step: Step) -> MuxUpload:
        planned = life.story.uploads[step.upload]
        timeline = Timeline(None, planned.prepare_seconds, planned.ending)
        settings = AssetSettings.of(("public",), None, str(life.story.lesson))
        return self._mux.state.add_upload(timeline, settings)

    def _until_committed(self, owner: UUID, statements: Sequence[tuple[str, Any]]) -> None:
        """Run statements in one transaction, again and again while the database fails."""
        claims = json.dumps({"sub": str(owner), "role": "authenticated"})
        while True:
            try:
                connection = self._connected()
                with connection.transaction():
                    connection.execute(
                        "select set_config('request.jwt.claims', %s, true)", [claims]
                    )
                    for statement, values in statements:
                        connection.execute(statement.encode(), values)
                return
            except psycopg.OperationalError:  # away, a deadlock, or a lock that is held too long
                time.sleep(RETRY_SECONDS)
            except psycopg.Error as error:
                if not (error.sqlstate or "").startswith("PT4"):  # the app shows these to its user
                    raise
                return

    def _connected(self) -> psycopg.Connection:
        if self._connection is None or self._connection.closed:
            self._connection = self._supabase.connect("authenticated")
        return self._connection


def _statements(
    life: Life, step: Step, upload: MuxUpload | None, mux: MuxSimulator
) -> list[tuple[str, Any]]:
    """Return what the app sends to the database for a step."""
    lesson, owner = life.story.lesson, life.story.owner
    temporary = placeholder(upload.id) if upload else ("", "")
    sent: list[tuple[str, Any]] = []
    match step.action:
        case "create":
            sent = [(CREATE, [lesson, owner])]
        case "track" if upload is not None:
            tracked = [lesson, upload.id, temporary[0]]
            sent = [(SAVE, [*temporary, None, lesson]), (TRACK, tracked)]
        case "track again" if upload is not None:
            sent = [(TRACK, [lesson, upload.id, temporary[0]])]
        case "upsert" if upload is not None:
            sent = [(UPSERT, [lesson, upload.id])]
        case "place" | "save form":
            sent = [(SAVE, [*temporary, None, lesson])]
        case "save draft":
            sent = [(SAVE, [*temporary, "draft", lesson])]
        case "publish" if upload is not None and (asset := asset_of(mux, upload)) is not None:
            ids = asset.id, asset.playback_ids[0].id
            sent = [(SAVE, [*ids, None, lesson]), (PUBLISH, [lesson])]
        case "archive":
            sent = [(ARCHIVE, [lesson])]
        case "delete":
            sent = [(DELETE, [lesson])]
    return sent
