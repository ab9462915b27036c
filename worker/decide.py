"""Decide what an observation means for its rows. Pure: no clock, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from worker.backoff import next_check_seconds
from worker.model import Claim, ClaimVerdict, Observation, Settlement, Verdict
from worker.wording import REASONS, failure, mux_says

GRACE_SECONDS = 600.0
GRACE_CHECKS = 3
"""A missing id fails after these seconds and checks, counted since it was first missing.

Rows of the backlog have no grace: a backfill entered them, and their uploads are old.
"""

KNOWN_POLICIES = frozenset({"public", "signed", "drm"})
NO_FAULTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rules:
    """The operator's settings for deciding, and the state of the current scan.

    `environment_matches`: whether the token's Mux environment is the recorded one, in which our ids
    were last found. In another environment every id is a 404, which then means nothing.
    `events_arrive`: whether Mux's webhooks arrive, so that rows are checked less often.
    `interval_seconds`: the longest time between two scans.
    """

    playback_policies: tuple[str, ...] = ("public",)
    give_up_after_seconds: float = 604_800.0
    environment_matches: bool = True
    events_arrive: bool = False
    interval_seconds: float = 5.0


def settlement(
    observation: Observation,
    claims: tuple[tuple[Claim, float], ...],
    rules: Rules,
    fault_counts: Mapping[str, int] = NO_FAULTS,
) -> Settlement:
    """Return the verdict for every row that the observation matches, and for each claimed row.

    Each claim comes with its jitter for `next_check_seconds`, `fault_counts` by the ids of claims.
    """
    return Settlement(
        observation,
        decide(observation, None, rules),
        tuple(
            ClaimVerdict(
                claim,
                decide(observation, claim, rules),
                next_check_seconds(
                    observation,
                    claim,
                    jitter,
                    interval_seconds=rules.interval_seconds,
                    fault_count=fault_counts.get(claim.id, 0),
                    events_arrive=rules.events_arrive,
                    environment_matches=rules.environment_matches,
                ),
            )
            for claim, jitter in claims
        ),
    )


def decide(observation: Observation, claim: Claim | None, rules: Rules) -> Verdict:
    """Return the verdict for one claimed row, or without a claim for any row that is matched.

    Grace and give-up depend on the row: without a claim the verdict is `wait` where they apply.
    """
    verdict = _from_observation(observation, rules)
    if claim is not None and claim.status == "ready":
        return _recheck(observation, verdict, claim, rules)
    if claim is None or verdict.action != "wait":
        return verdict
    if not (observation.found or rules.environment_matches):
        if observation.status == "fault":
            return verdict
        return Verdict("wait", "wrong_environment", REASONS["wrong_environment"], grace="unchanged")
    if verdict.grace == "runs" and (claim.is_backlog or _grace_is_over(claim)):
        return _fail(verdict.reason, verdict.message)
    if claim.age_seconds >= rules.give_up_after_seconds:
        return _fail("gave_up", _last_status(observation, verdict))
    return verdict


def _recheck(observation: Observation, verdict: Verdict, claim: Claim, rules: Rules) -> Verdict:
    """Decide whether the video of a published lesson still plays, and by which playback id.

    While its playback id is listed nothing changes. Without a clear response the row waits.
    """
    if any(playback.id == claim.playback_id for playback in observation.playback_ids):
        return Verdict("publish", "asset_ready", playback_id=claim.playback_id)
    if verdict.action == "publish":
        return verdict
    if verdict.reason in ("no_playback_id", "asset_errored"):
        return _fail("playback_ids_withdrawn", None)
    if observation.status != "missing":
        return Verdict("wait", verdict.reason, verdict.message)
    if not rules.environment_matches:
        return Verdict("wait", "wrong_environment", grace="unchanged")
    if _grace_is_over(claim):
        return _fail("asset_deleted", None)
    return verdict


def _from_observation(observation: Observation, rules: Rules) -> Verdict:
    """Return the verdict that follows from the observation alone."""
    is_event = observation.source == "webhook"
    match observation.subject, observation.status:
        case "row", _:
            return _fail("invalid_id", observation.error_message)
        case "upload", "waiting":
            return Verdict("wait", "upload_waiting")
        case "upload", "asset_created":
            return Verdict("wait", "asset_created")
        case "upload", "errored" if is_event:  # without Mux's reason, which a look finds
            return Verdict("recheck", "upload_errored")
        case ("upload", "errored" | "cancelled" | "timed_out") | ("asset", "errored"):
            error_type = f"{observation.subject}_{observation.status}"
            return _fail(error_type, _error_of(observation))
        case "asset", "preparing":
            return Verdict("wait", "asset_preparing")
        case "asset", "ready":
            return _choose_playback_id(observation, rules)
        case "asset", "deleted" if is_event:
            return Verdict("mark_deleted", "asset_deleted", failure("asset_deleted"))
        case subject, "missing":
            return Verdict("wait", f"{subject}_not_found", grace="runs")
        case _, "rejected":
            return Verdict("wait", "mux_rejected", _error_of(observation), grace="runs")
        case subject, "fault":
            message = f"Mux does not answer about this {subject}: {observation.error_message}"
            return Verdict("wait", "mux_fault", message, grace="unchanged")
        case subject, status:
            return Verdict("wait", "unknown_status", f"The {subject} is {status!r}.")


def _choose_playback_id(observation: Observation, rules: Rules) -> Verdict:
    for policy in rules.playback_policies:
        for playback in observation.playback_ids:
            if playback.policy == policy:
                return Verdict("publish", "asset_ready", playback_id=playback.id)
    policies = sorted({playback.policy for playback in observation.playback_ids})
    have = f"only playback ids of policy {', '.join(policies)}" if policies else "no playback id"
    accepted = ", ".join(rules.playback_policies)
    message = f"The asset has {have}; accepted: {accepted}."
    return Verdict("wait", "no_playback_id", message, grace="runs")


def _grace_is_over(claim: Claim) -> bool:
    """Whether this check, which finds the id missing once more, ends the row's grace."""
    seconds, checks = claim.missing_seconds, claim.missing_count + 1
    return seconds is not None and seconds >= GRACE_SECONDS and checks >= GRACE_CHECKS


def _fail(error_type: str, detail: str | None) -> Verdict:
    return Verdict("fail", error_type, failure(error_type, detail))


def _error_of(observation: Observation) -> str | None:
    return mux_says(observation.error_type, observation.error_message)


def _last_status(observation: Observation, verdict: Verdict) -> str:
    status = f"Mux's last answer: the {observation.subject} is {observation.status!r}."
    return verdict.message or status


def unknown_values(observation: Observation) -> tuple[tuple[str, str], ...]:
    """Return the statuses and policies that this version does not know, as (kind, value)."""
    found = []
    if _from_observation(observation, Rules()).reason == "unknown_status":
        found.append((f"{observation.subject}_status", observation.status))
    policies = (playback.policy for playback in observation.playback_ids)
    found += [("policy", policy) for policy in policies if policy not in KNOWN_POLICIES]
    return tuple(found)
