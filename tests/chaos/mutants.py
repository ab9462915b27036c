"""Mutants of the product that the verdict has to find, and the short runs in which it does."""

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sandbox.checkout import CHECKOUT
from sandbox.mux.timeline import Ending
from tests.chaos.plan import OWNERS, Action, Fault, Plan, Step, Story, Upload

NO_SEED = 0
"""These runs are written down, not drawn."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A change of one file of sql/: each text is replaced by another."""

    file: str
    replacements: tuple[tuple[str, str], ...]

    def write(self, directory: Path) -> Path:
        """Write the changed file; each text must stand in it exactly once."""
        changed = (CHECKOUT / "sql" / self.file).read_text()
        for old, new in self.replacements:
            found = changed.count(old)
            assert found == 1, f"{self.file} has {found} times: {old}"
            changed = changed.replace(old, new)
        file = directory / self.file
        file.write_text(changed)
        return file


HISTORY_IGNORED = Mutant(
    "050_names.sql",
    ((" or coalesce(entry.how = 'tracked', false);", ";"),),
)

_WRITE = (
    "  found_status := mux_private.write_video("
    "p_lesson.id, p_lesson.is_draft, p_fact.asset_id, p_fact.playback_id);\n"
)
_RETURN = (
    "  if p_lesson.is_draft then\n"
    "    return mux_private.outcome('waiting', p_tracking, p_fact.reason);\n"
    "  end if;\n"
)
SETTLED_IN_TWO_STATEMENTS = Mutant(
    "072_settle_row.sql",
    ((_WRITE, f"{_WRITE}{_RETURN}"),),
)
"""The lesson is published by one call, its row is settled by the next."""

LEASE_IGNORED = Mutant(
    "060_claim.sql",
    (
        ("if not mux_private.may_lead(leader, lead_seconds) then", "if false then"),
        (
            "set next_check_at = now() + make_interval(secs => p_seconds)\n    from free f",
            "set next_check_at = s.next_check_at\n    from free f",
        ),
    ),
)
"""Both of them: that of the rows, and that of the leader."""

WAITS_FOR_LOCKS = Mutant(
    "060_claim.sql",
    (
        (
            "order by r.place limit p_most\n    for no key update of s skip locked",
            "order by r.place limit p_most\n    for no key update of s",
        ),
    ),
)

MATCHED_BY_LESSON = Mutant(
    "071_match.sql",
    (
        (
            "when upload is not null then p_tracking.upload_id = upload",
            "when upload is not null then true",
        ),
    ),
)
"""What Mux said about an upload is settled against the lesson for which it was asked."""

_Planned = tuple[float, Action, int]


def _story(number: int, prepare_seconds: float, *planned: _Planned) -> Story:
    ending: Ending = "ready"
    steps = tuple(Step(*step) for step in planned)
    uploads = 1 + max(step.upload for step in steps)
    upload = Upload(0.0, 0.0, prepare_seconds, ending)
    return Story(UUID(int=number), OWNERS[number % len(OWNERS)], (upload,) * uploads, steps)


def _simple(number: int, at: float, prepare_seconds: float = 0.05) -> Story:
    return _story(
        number, prepare_seconds, (at, "create", 0), (at, "track", 0), (at + 0.1, "send", 0)
    )


def _replaced_and_repeated(number: int) -> Story:
    return _story(
        number, 0.05,
        (0.1, "create", 0), (0.1, "track", 0), (0.2, "send", 0),
        (1.5, "track", 1), (1.6, "send", 1), (3.0, "track again", 0),
    )  # fmt: skip


def _replaced_meanwhile(number: int) -> Story:
    at = 0.6 + 0.1 * (number % 8)
    return _story(
        number, 0.05,
        (0.1, "create", 0), (0.1, "track", 0), (0.2, "send", 0),
        (at, "track", 1), (at + 1.5, "send", 1),
    )  # fmt: skip


SIMPLE = Plan(NO_SEED, 2.0, tuple(_simple(n, 0.1) for n in range(1, 9)), replicas=1)
REPEATED = Plan(NO_SEED, 3.5, tuple(map(_replaced_and_repeated, range(11, 17))), replicas=1)

SLOW = Fault(0.0, "mux: slow", 3.0, 0)
ENCODING = Plan(
    NO_SEED, 3.0, tuple(_simple(n, 0.1, prepare_seconds=2.0) for n in range(21, 29)), (SLOW,)
)
"""Three replicas, while Mux is slow to answer and encodes."""

HELD = Fault(1.0, "lock a lesson", 13.0, 0)
"""More than twice as long as a lease, which the row may have when it begins."""
LOCKED = Plan(
    NO_SEED,
    8.0,
    (
        _simple(31, 0.1, prepare_seconds=8.0),
        *(_simple(n, 1.5) for n in range(32, 35)),
        *(_simple(n, 7.5) for n in range(35, 38)),
    ),
    (HELD,),
    replicas=1,
)
"""The app holds one lesson in a long transaction; the others have nothing to do with it."""

REPLACED = Plan(NO_SEED, 3.5, tuple(map(_replaced_meanwhile, range(41, 57))), (SLOW,), replicas=1)
"""Uploads are replaced while Mux is asked about them."""

NAIVE = Plan(NO_SEED, 2.0, tuple(_simple(n, 0.1 + 0.02 * n) for n in range(61, 91)), replicas=2)

ALL = Plan(
    NO_SEED,
    3.5,
    tuple(s for p in (SIMPLE, REPEATED, ENCODING, LOCKED, REPLACED, NAIVE) for s in p.stories),
    (SLOW, HELD),
)
"""All of these at once: the product itself has to pass."""
