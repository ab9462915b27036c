"""What a run does, drawn from its seed: the app's steps for each lesson, and the faults."""

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from sandbox.mux.timeline import Ending

Action = Literal[
    "create",
    "track",  # with track_upload, after the form saved the placeholder
    "upsert",  # with the app's own upsert
    "place",  # a placeholder in the lesson's columns, and nothing else
    "send",  # the file reaches Mux
    "track again",  # a repeated call for an older upload
    "save form",  # a form that was left open saves an older placeholder
    "save draft",  # so does another, with the status that it knows
    "publish",  # by hand, with real ids
    "archive",
    "delete",
]
BEGINNINGS: tuple[Action, ...] = ("track", "upsert", "place")
BEGINNING_WEIGHTS = (5, 3, 2)

OWNERS = tuple(UUID(int=(0xC4A05 << 104) + number) for number in range(4))
SHARE_FOR_LESSONS = 0.85
"""The share of a run in which lessons begin."""

SECONDS_BETWEEN_FAULTS = (0.8, 2.6)
FAULT_SECONDS = (0.5, 4.0)

PROCESS_FAULTS = ("kill", "terminate", "freeze", "clock")
DATABASE_FAULTS = ("restart postgres", "terminate backends", "kill postgrest", "lock a lesson")
GATEWAY_FAULTS = (
    "supabase: reset",
    "supabase: drop_reply",
    "supabase: truncate",
    "supabase: hang",
    "supabase: slow",
    "supabase: 503",
    "supabase: key refused",
)
MUX_FAULTS = (
    "mux: down",
    "mux: 500",
    "mux: 429",
    "mux: reset",
    "mux: hang",
    "mux: truncate",
    "mux: trickle",
    "mux: slow",
    "mux: garbage",
    "mux: token refused",
    "one id: 500",
    "one id: 403",
    "one id: hang",
    "one id: garbage",
)
FAULTS = PROCESS_FAULTS + DATABASE_FAULTS + GATEWAY_FAULTS + MUX_FAULTS


@dataclass(frozen=True, slots=True)
class Upload:
    """How Mux will treat one upload; without `sent_at` its file never comes."""

    begun_at: float
    sent_at: float | None
    prepare_seconds: float
    ending: Ending


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the app or the instructor's browser does, at `at` seconds of the run."""

    at: float
    action: Action
    upload: int = 0


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to one lesson, in this order."""

    lesson: UUID
    owner: UUID
    uploads: tuple[Upload, ...]
    steps: tuple[Step, ...]

    @property
    def newest(self) -> int:
        """Return the number of the upload that the lesson has to end with."""
        return max(step.upload for step in self.steps if step.action in BEGINNINGS)

    def does(self, *actions: Action) -> bool:
        """Whether the story has one of these steps."""
        return any(step.action in actions for step in self.steps)


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, from when on and for how long; `number` picks a replica or a lesson."""

    at: float
    kind: str
    seconds: float
    number: int

    def __str__(self) -> str:
        return f"{self.at:7.1f} s  {self.kind}, {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. Webhooks are sent from `webhooks_at` on; None: never."""

    seed: int
    seconds: float
    stories: tuple[Story, ...]
    faults: tuple[Fault, ...] = ()
    replicas: int = 3
    webhooks_at: float | None = None
    backfill_at: float | None = None


def make_plan(seed: int, seconds: float, lessons: int) -> Plan:
    """Return the plan of a seed: the same one in every run."""
    rng = random.Random(seed)
    begins = [rng.uniform(-2.0, seconds * SHARE_FOR_LESSONS) for _ in range(lessons)]
    stories = tuple(_story(rng, at, ends_at=seconds) for at in begins)
    return Plan(
        seed, seconds, stories, tuple(_faults(rng, seconds)),
        webhooks_at=seconds * 0.5, backfill_at=seconds * 0.4,
    )  # fmt: skip


def _story(rng: random.Random, at: float, ends_at: float) -> Story:
    lesson, owner = UUID(int=rng.getrandbits(128), version=4), rng.choice(OWNERS)
    twist = rng.choices(
        ("", "another", "two others", "again", "form", "draft", "publish", "archive", "delete"),
        (50, 14, 4, 6, 6, 6, 5, 3, 6),
    )[0]
    number = {"another": 2, "two others": 3, "again": 2, "form": 2}.get(twist, 1)
    uploads, steps = [], [Step(at, "create")]
    begins = at
    for index in range(number):
        begins += rng.uniform(0.02, 0.3) if index == 0 else rng.uniform(0.2, 8.0)
        upload = _upload(rng, begins, is_ready=twist in ("publish", "draft"))
        uploads.append(upload)
        beginning = rng.choices(BEGINNINGS, BEGINNING_WEIGHTS)[0]
        # A placeholder that a form overwrites at once leaves no trace of what is the newest.
        is_certain = twist in ("again", "form")
        steps.append(Step(begins, "track" if is_certain else beginning, index))
        if upload.sent_at is not None:
            steps.append(Step(upload.sent_at, "send", index))
    steps += _twist(rng, twist, uploads)
    steps = [replace(step, at=min(step.at, ends_at)) for step in steps]
    return Story(lesson, owner, tuple(uploads), tuple(sorted(steps, key=lambda step: step.at)))


def _upload(rng: random.Random, begun_at: float, *, is_ready: bool) -> Upload:
    endings: tuple[Ending, ...] = ("ready", "asset_errored", "upload_errored", "cancelled")
    ending = "ready" if is_ready else rng.choices(endings, (88, 6, 3, 3))[0]
    comes = is_ready or rng.random() < 0.97
    sent_at = begun_at + rng.uniform(0.1, 4.0) if comes else None
    return Upload(begun_at, sent_at, rng.choice((0.05, 0.5, 1.0, 2.0, 5.0)), ending)


def _twist(rng: random.Random, twist: str, uploads: list[Upload]) -> list[Step]:
    """Return what else happens to a lesson, after its last upload began or was ready."""
    last = uploads[-1]
    later = last.begun_at + rng.uniform(0.1, 10.0)
    ready_at = (last.sent_at or last.begun_at) + last.prepare_seconds
    form: Action = rng.choice(("save form", "save draft"))
    steps = {
        "again": Step(later, "track again"),
        "form": Step(later, form),
        "draft": Step(ready_at + rng.uniform(0.5, 6.0), "save draft"),
        "publish": Step(ready_at + rng.uniform(0.1, 2.0), "publish"),
        "archive": Step(later, "archive"),
        "delete": Step(later, "delete"),
    }
    return [steps[twist]] if twist in steps else []


def _faults(rng: random.Random, seconds: float) -> Iterator[Fault]:
    """Draw all kinds in turn, in another order each time; the next begins before the last ends."""
    at, deck = 2.0, list[str]()
    while True:
        deck = deck or rng.sample(FAULTS, len(FAULTS))
        fault = Fault(at, deck.pop(), rng.uniform(*FAULT_SECONDS), rng.getrandbits(30))
        if fault.at + fault.seconds > seconds:
            return
        yield fault
        at += rng.uniform(*SECONDS_BETWEEN_FAULTS)
