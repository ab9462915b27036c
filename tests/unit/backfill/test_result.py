import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.unit.backfill.listed_mux import listed, waiting
from worker.backfill.result import UNANSWERED, Progress, Result, ending
from worker.decide import Rules
from worker.lesson import Adoption
from worker.model import Observation, Outcome
from worker.wording import BACKFILL_RESULTS, FAILURES

SQL = Path(__file__).parents[3] / "sql"

READY = listed(1)
GONE = Observation("upload", "missing", "probe", "u1")
REFUSED = Outcome("refused", lesson_id="l1", message="no", sqlstate="23514")

LEFT_ALONE = ("names_nothing", "unreadable_id", "has_video", "older", "not_found", "deleted")
DISPUTED = ("lesson_mismatch", "several_instructors")


@pytest.mark.parametrize(
    ("outcome", "kind", "message"),
    [
        *((Outcome("left_alone", reason=reason), reason, None) for reason in LEFT_ALONE),
        (Outcome("unchanged"), "unchanged", None),
        (Outcome("unchanged", reason="has_video"), "has_video", None),
        (Outcome("restored", reason="anything"), "restored", None),
        (Outcome("busy"), "busy", None),
        (Outcome("ask"), "mux_fault", None),
        *((Outcome("disputed", reason=reason), reason, None) for reason in DISPUTED),
        (REFUSED, "refused", "no"),
        (replace(REFUSED, raised_by="rule()"), "refused", "no (raised by rule())"),
    ],
    ids=lambda value: value.name if isinstance(value, Outcome) else None,
)
def test_a_lesson_that_is_not_adopted_has_a_result(
    outcome: Outcome, kind: str, message: str | None
) -> None:
    """By its outcome, or the reason of it; with the ids that it concerns."""
    adoption = Adoption(replace(outcome, lesson_id="l1", upload_id="u1", asset_id="a1"))
    ids = {"upload_id": "u1", "asset_id": "a1"}
    assert Result.of(adoption) == Result("l1", kind, message, ids)


@pytest.mark.parametrize(
    ("is_draft", "observation", "kind"),
    [
        (True, READY, "published"),
        (False, READY, "attached"),
        (True, replace(READY, status="preparing"), "waiting"),
        (True, waiting("u1"), "waiting"),
        (True, replace(waiting("u1"), status="asset_created"), "waiting"),
        (True, replace(READY, status="odd"), "waiting"),
        (True, replace(READY, playback_ids=()), "no_playback_id"),
        (True, replace(READY, status="errored"), "asset_errored"),
        (True, replace(waiting("u1"), status="timed_out"), "upload_timed_out"),
        (True, GONE, "upload_not_found"),
        (True, replace(GONE, subject="asset"), "asset_not_found"),
        (True, replace(GONE, status="rejected"), "mux_rejected"),
        (True, replace(GONE, status="fault", error_message="500"), "mux_fault"),
        (True, Observation("row", "invalid_id", "probe"), "invalid_id"),
    ],
)
def test_the_plan_says_what_a_scan_would_do(
    is_draft: bool, observation: Observation, kind: str
) -> None:
    """By what Mux says now: a row of a backfill has no grace, so an id that is gone fails."""
    adoption = Adoption(Outcome("adopted", lesson_id="l1"), is_draft=is_draft)
    assert Result.planned(adoption, observation, Rules()).kind == kind


def test_a_planned_failure_has_its_message() -> None:
    """It begins with the sentences for its type, as a row's does."""
    adoption = Adoption(Outcome("adopted", lesson_id="l1", upload_id="u1"))
    broken = replace(READY, status="errored", error_message="no video track")
    message = f"{FAILURES['asset_errored']} Mux says: no video track."
    ids = {"upload_id": "u1", "asset_id": "a1"}
    assert Result.planned(adoption, broken, Rules()) == Result("l1", "asset_errored", message, ids)


def test_the_ids_of_what_mux_does_not_know_are_those_that_the_lesson_names() -> None:
    """What Mux knows is listed by the ids that Mux gave."""
    adoption = Adoption(Outcome("tracked", lesson_id="l1", upload_id="u1"))
    found = Result.planned(adoption, READY, Rules())
    missing = Result.planned(adoption, GONE, Rules())
    assert dict(found.ids) == {"upload_id": "u1", "asset_id": "a1"}
    assert dict(missing.ids) == {"upload_id": "u1", "asset_id": None}


@pytest.mark.parametrize(
    ("kinds", "end"),
    [
        (("published", "attached", "restored"), "updated"),
        (("waiting", "has_video", "names_nothing", "older", "unchanged", "changed"), "skipped"),
        (("deleted", "busy"), "skipped"),
        (
            (
                "not_found",
                "unreadable_id",
                "several_instructors",
                "mux_fault",
                "a_new_error",
                *FAILURES,
            ),
            "failed",
        ),
    ],
)
def test_every_kind_is_counted_as_updated_skipped_or_failed(
    kinds: tuple[str, ...], end: str
) -> None:
    """An error type that is new is a failure."""
    assert {ending(kind) for kind in kinds} == {end}


def test_what_failed_is_listed_and_what_an_operator_may_want_to_know() -> None:
    """Not what is as it should be."""
    kinds = {*BACKFILL_RESULTS, *FAILURES} - {UNANSWERED}
    listed_kinds = {kind for kind in kinds if Result("l1", kind).is_listed}
    failed = {kind for kind in kinds if ending(kind) == "failed"}
    assert listed_kinds == failed | {"has_video", "older", "busy"}


def test_every_kind_that_sql_writes_has_its_sentences() -> None:
    """The reasons of lessons that are left alone, and the states of rows that were adopted."""
    adoption = "".join((SQL / f"{name}.sql").read_text() for name in ("080_adoption", "082_adopt"))
    words = set(re.findall(r"row\(\s*'left_alone', '(\w+)'", adoption))
    words |= set(re.findall(r'"reason": "(\w+)"', adoption))
    words |= set(*re.findall(r"then '(names_nothing)' else '(\w+)'", adoption))
    assert words == set(LEFT_ALONE)
    disputed = set(re.findall(r"row\(\s*'disputed', '(\w+)'", adoption))
    assert disputed == set(DISPUTED)
    backfill = (SQL / "084_backfill.sql").read_text()
    pattern = r"return query\s+select h.lesson_id, t, case(.*?)\n    end"
    (case,) = re.findall(pattern, backfill, re.DOTALL)
    states = set(re.findall(r"(?:then|else) '(\w+)'", case))
    assert states == {"changed", "refused", "unanswered", "waiting"}
    assert words | disputed | states <= BACKFILL_RESULTS.keys() | FAILURES.keys()


def test_a_lesson_counts_once_it_has_its_answer() -> None:
    """A row that no scan has looked at yet is not processed."""
    progress = Progress()
    progress.left_alone.update(has_video=2, restored=1)
    progress.adopted = Counter(published=3, unanswered=4, upload_not_found=1, restored=1)
    assert progress.by_ending() == {"processed": 8, "updated": 5, "skipped": 2, "failed": 1}
    assert progress.counts == {
        "has_video": 2,
        "restored": 2,
        "published": 3,
        "unanswered": 4,
        "upload_not_found": 1,
    }
