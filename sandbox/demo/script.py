"""What happens in the demo, and when: twelve lessons, six kinds of trouble, how each must end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

import httpx

from sandbox.fault_injection import Fault
from sandbox.mux.server import MuxSimulator
from sandbox.mux.timeline import Timeline
from sandbox.mux.webhooks import MuxWebhooks
from sandbox.supabase.stack import LocalSupabase

INSTRUCTORS = {
    "Anna": UUID("a11a0000-0000-4000-8000-000000000001"),
    "Bert": UUID("be870000-0000-4000-8000-000000000002"),
}
OUTAGE = (13.0, 20.0)
WEBHOOKS_FROM = 28.0
"""Until then lessons are found by the scan alone; afterwards Mux tells of them by itself."""

LONGEST_SECONDS = 60.0


@dataclass(frozen=True)
class Part:
    """One lesson of the story: who uploads what when, and how it must end.

    Seconds are of the story, whatever its speed. `again` is the timeline of a second upload,
    made `again_after` seconds after the first. `error_type` is None where the lesson must be
    published.
    """

    title: str
    instructor: str
    at: float
    timeline: Timeline
    note: str = ""
    timeout: float = 3600
    again: Timeline | None = None
    again_after: float = 5
    is_legacy: bool = False
    comes_by_webhook: bool = False
    error_type: str | None = None


def _video(prepare: float, **more: Any) -> Timeline:
    return Timeline(file_after_seconds=1, prepare_seconds=prepare, **more)


PARTS = (
    Part("Welcome", "Anna", 0.5, _video(3)),
    Part("Setting up", "Bert", 1.5, _video(5)),
    Part(
        "A second take", "Anna", 2.5, _video(25),
        "uploaded again while the first was encoding: it has the second video", again=_video(6),
    ),
    Part(
        "Left alone", "Bert", 3.5, Timeline(file_after_seconds=None),
        "the upload was abandoned: failed, still a draft", timeout=12,
        error_type="upload_timed_out",
    ),
    Part(
        "A broken file", "Anna", 5, _video(3, ending="asset_errored"),
        "Mux could not encode it: failed, still a draft", error_type="asset_errored",
    ),
    Part(
        "From last year", "Bert", 6.5, _video(2),
        "it held temp_ ids: they are real ones now", is_legacy=True,
    ),
    Part("Variables", "Anna", 8, _video(4)),
    Part("Loops", "Bert", 10, _video(5), "ready while Mux was down: published afterwards"),
    Part("Functions", "Anna", 12, _video(4), "ready while Mux was down: published afterwards"),
    Part("Files", "Bert", 28.5, _video(3), comes_by_webhook=True),
    Part("Testing", "Anna", 30, _video(4), comes_by_webhook=True),
    Part("Goodbye", "Bert", 31, _video(3), comes_by_webhook=True),
)  # fmt: skip


@dataclass
class Cast:
    """A lesson of the story once it exists: its id, and the uploads made for it."""

    part: Part
    lesson_id: str
    uploads: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Act:
    """Something that happens at a moment of the story; `tell` says what, once it is done."""

    at: float
    do: Callable[[], None]
    tell: str


class Story:
    """Plays the app and the outage, act by act; `speed` shortens all times alike."""

    def __init__(
        self, supabase: LocalSupabase, mux: MuxSimulator, webhooks: MuxWebhooks, speed: float
    ) -> None:
        self._mux = mux
        self._webhooks = webhooks
        self._speed = speed
        self._apps = {name: _app(supabase, user) for name, user in INSTRUCTORS.items()}
        self.cast: dict[str, Cast] = {}
        self.mux_is_down = False
        self._acts = sorted(self._all_acts(), key=lambda act: act.at)

    def play(self, seconds: float) -> list[str]:
        """Do what is due after so many seconds since the beginning; tell what was done."""
        told = []
        while self._acts and self._acts[0].at <= seconds * self._speed:
            act = self._acts.pop(0)
            act.do()
            told.append(act.tell)
        return told

    @property
    def is_over(self) -> bool:
        """Whether everything has happened."""
        return not self._acts

    def close(self) -> None:
        """Close the app's connections."""
        for app in self._apps.values():
            app.close()

    def expected_ids(self, cast: Cast) -> tuple[str, str] | None:
        """Give the asset and playback id that must be in the lesson; None if it must fail."""
        if cast.part.error_type is not None:
            return None
        upload = self._mux.state.upload(cast.uploads[-1])
        asset = self._mux.state.asset(upload.asset_id or "")
        return asset.id, asset.playback_ids[0].id

    def _all_acts(self) -> Iterator[Act]:
        for part in PARTS:
            told = f"{part.instructor} uploads “{part.title}”"
            yield Act(part.at, partial(self._begin, part), told)
            if part.again is not None:
                again = partial(self._again, part.title, part.again)
                yield Act(part.at + part.again_after, again, f"{told} a second time")
        yield Act(OUTAGE[0], self._break_mux, "Mux goes down: every request is answered with 503")
        yield Act(OUTAGE[1], self._mend_mux, "Mux is back")
        yield Act(WEBHOOKS_FROM, self._webhooks.start, "Mux's webhooks are pointed at the worker")

    def _begin(self, part: Part) -> None:
        """Save the lesson and track its upload, as the app's form does."""
        app = self._apps[part.instructor]
        upload = self._upload(part.timeline, part.timeout)
        lesson: dict[str, Any] = {
            "title": part.title,
            "creator_id": str(INSTRUCTORS[part.instructor]),
        }
        if part.is_legacy:
            lesson |= {
                "mux_asset_id": f"temp_{upload}",
                "mux_playback_id": f"temp_playback_{upload}",
            }
        saved = app.post("/lessons", json=lesson, headers={"Prefer": "return=representation"})
        cast = Cast(part, saved.raise_for_status().json()[0]["id"])
        self.cast[part.title] = cast
        self._track(cast, upload)

    def _again(self, title: str, timeline: Timeline) -> None:
        cast = self.cast[title]
        self._track(cast, self._upload(timeline, cast.part.timeout))

    def _track(self, cast: Cast, upload: str) -> None:
        cast.uploads.append(upload)
        self._apps[cast.part.instructor].post(
            "/mux_asset_tracking",
            params={"on_conflict": "lesson_id"},
            json={
                "lesson_id": cast.lesson_id,
                "upload_id": upload,
                "temp_asset_id": f"temp_{upload}",
                "status": "processing",
            },
            headers={"Prefer": "resolution=merge-duplicates,return=minimal"},
        ).raise_for_status()

    def _upload(self, timeline: Timeline, timeout: float) -> str:
        file_after = timeline.file_after_seconds
        quick = replace(
            timeline,
            prepare_seconds=timeline.prepare_seconds / self._speed,
            file_after_seconds=None if file_after is None else file_after / self._speed,
        )
        return self._mux.state.create_upload(
            quick, timeout_seconds=max(1, int(timeout / self._speed))
        )

    def _break_mux(self) -> None:
        self.mux_is_down = True
        self._mux.faults.add(Fault("answer", status=503, body="down for the demo"))

    def _mend_mux(self) -> None:
        self.mux_is_down = False
        self._mux.faults.clear()


def _app(supabase: LocalSupabase, user: UUID) -> httpx.Client:
    """Give the web app as one signed-in instructor has it."""
    return httpx.Client(
        base_url=f"{supabase.url}/rest/v1",
        headers={
            "apikey": supabase.anon_key,
            "Authorization": f"Bearer {supabase.user_token(user)}",
        },
        timeout=10,
    )
