"""The script of the demo: twelve lessons with their uploads, an outage of Mux, and webhooks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any
from uuid import UUID

import httpx

from sandbox.demo.lessons import LESSONS, LessonPlan
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
"""From when until when Mux answers with 503."""

WEBHOOKS_FROM = 28.0
"""From when on Mux sends webhooks; until then the scan alone finds the videos."""

MAX_SECONDS = 60.0


@dataclass
class DemoLesson:
    """A lesson that the script created: its plan, its id, and its uploads."""

    plan: LessonPlan
    lesson_id: str
    upload_ids: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Step:
    """An action of the script, its time, and the line that reports it."""

    at: float
    run: Callable[[], None]
    message: str


class Script:
    """Run the steps of the demo in order; `speed` divides all times."""

    def __init__(
        self, supabase: LocalSupabase, mux: MuxSimulator, webhooks: MuxWebhooks, speed: float
    ) -> None:
        self._mux = mux
        self._webhooks = webhooks
        self._speed = speed
        self._apps = {name: _rest_client(supabase, user) for name, user in INSTRUCTORS.items()}
        self.lessons: dict[str, DemoLesson] = {}
        self.mux_is_down = False
        self._steps = sorted(self._all_steps(), key=lambda step: step.at)

    def run_due_steps(self, seconds: float) -> list[str]:
        """Run the steps that are due after `seconds` of real time; return their messages."""
        messages = []
        while self._steps and self._steps[0].at <= seconds * self._speed:
            step = self._steps.pop(0)
            step.run()
            messages.append(step.message)
        return messages

    @property
    def is_finished(self) -> bool:
        """Whether all steps have run."""
        return not self._steps

    def close(self) -> None:
        """Close the app's connections."""
        for app in self._apps.values():
            app.close()

    def expected_ids(self, lesson: DemoLesson) -> tuple[str, str] | None:
        """Return the expected asset id and playback id; None if the lesson must fail."""
        if lesson.plan.error_type is not None:
            return None
        upload = self._mux.state.upload(lesson.upload_ids[-1])
        asset = self._mux.state.asset(upload.asset_id or "")
        return asset.id, asset.playback_ids[0].id

    def _all_steps(self) -> Iterator[Step]:
        for plan in LESSONS:
            message = f"{plan.instructor} uploads “{plan.title}”"
            yield Step(plan.at, partial(self._create_lesson, plan), message)
            if plan.second_timeline is not None:
                upload = partial(self._upload_again, plan.title, plan.second_timeline)
                at = plan.at + plan.second_after_seconds
                yield Step(at, upload, f"{message} a second time")
        yield Step(OUTAGE[0], self._start_outage, "Mux is down: every response is 503")
        yield Step(OUTAGE[1], self._end_outage, "Mux is up again")
        yield Step(WEBHOOKS_FROM, self._webhooks.start, "Mux starts to send webhooks")

    def _create_lesson(self, plan: LessonPlan) -> None:
        """Insert the lesson and track its upload, as the app's form does."""
        app = self._apps[plan.instructor]
        upload_id = self._create_upload(plan.timeline, plan.timeout_seconds)
        row: dict[str, Any] = {
            "title": plan.title,
            "creator_id": str(INSTRUCTORS[plan.instructor]),
        }
        if plan.has_placeholders:
            row |= {
                "mux_asset_id": f"temp_{upload_id}",
                "mux_playback_id": f"temp_playback_{upload_id}",
            }
        response = app.post("/lessons", json=row, headers={"Prefer": "return=representation"})
        lesson = DemoLesson(plan, response.raise_for_status().json()[0]["id"])
        self.lessons[plan.title] = lesson
        self._track(lesson, upload_id)

    def _upload_again(self, title: str, timeline: Timeline) -> None:
        lesson = self.lessons[title]
        self._track(lesson, self._create_upload(timeline, lesson.plan.timeout_seconds))

    def _track(self, lesson: DemoLesson, upload_id: str) -> None:
        lesson.upload_ids.append(upload_id)
        self._apps[lesson.plan.instructor].post(
            "/mux_asset_tracking",
            params={"on_conflict": "lesson_id"},
            json={
                "lesson_id": lesson.lesson_id,
                "upload_id": upload_id,
                "temp_asset_id": f"temp_{upload_id}",
                "status": "processing",
            },
            headers={"Prefer": "resolution=merge-duplicates,return=minimal"},
        ).raise_for_status()

    def _create_upload(self, timeline: Timeline, timeout_seconds: float) -> str:
        file_after = timeline.file_after_seconds
        scaled = replace(
            timeline,
            prepare_seconds=timeline.prepare_seconds / self._speed,
            file_after_seconds=None if file_after is None else file_after / self._speed,
        )
        return self._mux.state.create_upload(
            scaled, timeout_seconds=max(1, int(timeout_seconds / self._speed))
        )

    def _start_outage(self) -> None:
        self.mux_is_down = True
        self._mux.faults.add(Fault("answer", status=503, body="down for the demo"))

    def _end_outage(self) -> None:
        self.mux_is_down = False
        self._mux.faults.clear()


def _rest_client(supabase: LocalSupabase, user: UUID) -> httpx.Client:
    """Return a client of the REST API that is signed in as one instructor."""
    return httpx.Client(
        base_url=f"{supabase.url}/rest/v1",
        headers={
            "apikey": supabase.anon_key,
            "Authorization": f"Bearer {supabase.user_token(user)}",
        },
        timeout=10,
    )
