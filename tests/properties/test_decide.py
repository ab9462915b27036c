from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.observations import claims, rechecks, reported, rules, scanned, seconds
from worker.decide import Rules, decide
from worker.model import Claim, Observation, Verdict
from worker.wording import FAILURES, REASONS

BY_EVENT = {"recheck", "mark_deleted"}
ACTIONS = {"publish", "fail", "wait"}


def is_legal(verdict: Verdict) -> bool:
    """Whether a verdict has what its action needs: a playback id, or sentences."""
    if verdict.action == "publish":
        return verdict.playback_id is not None
    if verdict.action == "fail":
        sentences = FAILURES[verdict.reason]
        message = verdict.message or ""
        return message.startswith(sentences) and message.endswith((".", "!", "?"))
    return verdict.reason in FAILURES.keys() | REASONS.keys()


@given(scanned, st.none() | claims | rechecks, rules)
def test_whatever_a_scan_finds_has_a_legal_verdict(
    observation: Observation, claim: Claim | None, rules: Rules
) -> None:
    """It publishes with a playback id, fails with sentences, or waits for a known reason."""
    verdict = decide(observation, claim, rules)
    assert verdict.action in ACTIONS
    assert is_legal(verdict)


@given(reported, rules)
def test_whatever_an_event_reports_has_a_legal_verdict(
    observation: Observation, rules: Rules
) -> None:
    """Only an event marks a video as deleted or asks for a recheck, and no event ends a grace."""
    verdict = decide(observation, None, rules)
    assert verdict.action in ACTIONS | BY_EVENT
    assert is_legal(verdict)
    deletes = (observation.subject, observation.status) == ("asset", "deleted")
    assert (verdict.action == "mark_deleted") == deletes
    if verdict.action == "fail":
        assert observation.status in ("errored", "cancelled", "timed_out")


@given(scanned | reported, st.none() | claims | rechecks, rules)
def test_only_a_listed_playback_id_of_an_accepted_policy_is_published(
    observation: Observation, claim: Claim | None, rules: Rules
) -> None:
    """Or the one that the lesson plays already, while it is listed, whatever its policy."""
    verdict = decide(observation, claim, rules)
    if verdict.action != "publish":
        return
    policies = {p.policy for p in observation.playback_ids if p.id == verdict.playback_id}
    plays_already = (
        claim is not None and claim.status == "ready" and claim.playback_id == verdict.playback_id
    )
    assert policies
    if not plays_already:
        assert (observation.subject, observation.status) == ("asset", "ready")
        assert policies & set(rules.playback_policies)


@given(scanned, claims | rechecks, rules)
def test_in_an_outage_or_another_environment_no_lesson_fails(
    observation: Observation, claim: Claim, rules: Rules
) -> None:
    """However old the row is: what Mux does not answer, or cannot know, proves nothing."""
    if observation.found or observation.subject == "row":
        return
    elsewhere = decide(observation, claim, replace(rules, environment_matches=False))
    assert elsewhere.action == "wait"
    assert elsewhere.grace == "unchanged" or claim.status == "ready"
    if observation.status == "fault":
        here = decide(observation, claim, replace(rules, environment_matches=True))
        assert here.action == "wait" or here.reason == "gave_up"


@given(scanned, claims, rules)
def test_a_fault_of_one_id_begins_no_grace(
    observation: Observation, claim: Claim, rules: Rules
) -> None:
    """Nor does it end one: the row waits until it is given up."""
    fault = replace(observation, subject="upload", status="fault")
    patient = replace(rules, give_up_after_seconds=claim.age_seconds + 1)
    verdict = decide(fault, claim, patient)
    assert (verdict.action, verdict.reason, verdict.grace) == ("wait", "mux_fault", "unchanged")


@given(scanned, claims, rules, seconds, st.integers(0, 10))
def test_a_row_that_fails_would_also_fail_later(
    observation: Observation, claim: Claim, rules: Rules, passed: float, checks: int
) -> None:
    """With the same answer of Mux, whatever time has passed and however often it was checked."""
    if decide(observation, claim, rules).action != "fail":
        return
    later = replace(
        claim,
        age_seconds=claim.age_seconds + passed,
        check_count=claim.check_count + checks,
        missing_seconds=None if claim.missing_seconds is None else claim.missing_seconds + passed,
        missing_count=claim.missing_count + (0 if claim.missing_seconds is None else checks),
    )
    assert decide(observation, later, rules).action == "fail"


@given(scanned, rechecks, rules)
def test_a_published_lesson_is_unplayable_only_by_what_mux_says(
    observation: Observation, claim: Claim, rules: Rules
) -> None:
    """Its asset has no accepted playback id, failed, or is missing after the grace."""
    verdict = decide(observation, claim, rules)
    if verdict.action == "fail":
        assert observation.subject == "asset"
        assert verdict.reason in ("playback_ids_withdrawn", "asset_deleted")
        assert observation.status in ("ready", "errored", "missing")
        assert claim.playback_id not in {p.id for p in observation.playback_ids}
