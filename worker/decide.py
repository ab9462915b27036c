"""Decide what an observation means. Pure: no clock, no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from worker.model import Claim, ClaimVerdict, Observation, Settlement, Verdict
from worker.wording import REASONS, failure, mux_says

GRACE_SECONDS = 600.0
GRACE_LOOKS = 3
STUCK_SECONDS = 1800.0
FIRST_PAUSE_SECONDS = 5.0
PAUSE_GROWTH = 1.5
PAUSE_CAP_SECONDS = 30.0
MISSING_PAUSES_SECONDS = (5.0, 30.0, 200.0, 300.0)
"""For an id that Mux does not know: most of them are garbage, and the grace takes three looks."""

SWEPT_PAUSE_SECONDS = 4.0
"""For a row that a list answered for: less than the usual time between two scans."""

LATE_PAUSE_CAP_SECONDS = 300.0
FIRST_PAUSE_BESIDE_EVENTS_SECONDS = 60.0
JITTER = 0.1
KNOWN_POLICIES = frozenset({"public", "signed", "drm"})
NO_FAULTS: Mapping[str, int] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator, and the moment, say about deciding.

    `at_home` is true while the token's Mux environment is the one in which our ids were last
    found. In another environment every id is a 404, which then means nothing. `events_arrive` is
    true while Mux's webhooks do, so that asking is only for what they miss.
    """

    playback_policies: tuple[str, ...] = ("public",)
    give_up_after_seconds: float = 604_800.0
    at_home: bool = True
    events_arrive: bool = False


def settlement(
    observation: Observation,
    claims: tuple[tuple[Claim, float], ...],
    rules: Rules,
    faults: Mapping[str, int] = NO_FAULTS,
) -> Settlement:
    """Decide for every row the fact is about, and for each claimed one with its jitter.

    `faults` counts, by the id of a claim, the looks in a row that Mux did not answer before.
    """
    return Settlement(
        observation,
        decide(observation, None, rules),
        tuple(
            _for_claim(observation, c, jitter, rules, faults.get(c.id, 0)) for c, jitter in claims
        ),
    )


def _for_claim(
    seen: Observation, claim: Claim, jitter: float, rules: Rules, faults: int
) -> ClaimVerdict:
    verdict = decide(seen, claim, rules)
    if seen.status == "fault":
        growth = PAUSE_GROWTH ** min(faults, 20)
        pause = _spread(min(FIRST_PAUSE_SECONDS * growth, LATE_PAUSE_CAP_SECONDS), jitter)
    elif seen.status in ("missing", "rejected") and rules.at_home:
        later = min(claim.missing_count, len(MISSING_PAUSES_SECONDS) - 1)
        pause = _spread(MISSING_PAUSES_SECONDS[later], jitter)
    else:
        swept = seen.source == "sweep"
        pause = pause_seconds(claim, jitter, swept=swept, events_arrive=rules.events_arrive)
    return ClaimVerdict(claim, verdict, pause)


def decide(observation: Observation, claim: Claim | None, rules: Rules) -> Verdict:
    """Give the verdict for one row; without a claim, for any row the fact happens to touch.

    Grace and give-up depend on the row, so without a claim what they would decide is `wait`.
    """
    verdict = _from_fact(observation, rules)
    if claim is not None and claim.status == "ready":
        return _once_more(observation, verdict, claim, rules)
    if claim is None or verdict.action != "wait":
        return verdict
    if not observation.found and observation.subject != "none" and not rules.at_home:
        if observation.status == "fault":
            return verdict
        return Verdict("wait", "wrong_environment", REASONS["wrong_environment"], missing=None)
    if verdict.missing and _grace_is_over(claim):
        return _fail(verdict.reason, verdict.message)
    if claim.age_seconds >= rules.give_up_after_seconds:
        return _fail("gave_up", _last_answer(observation, verdict))
    return verdict


def _once_more(seen: Observation, verdict: Verdict, claim: Claim, rules: Rules) -> Verdict:
    """Decide whether a lesson's video still plays, and by which id.

    While its id is listed nothing changes. What is not said clearly is asked for again.
    """
    if any(playback.id == claim.playback_id for playback in seen.playback_ids):
        return Verdict("publish", "asset_ready", playback_id=claim.playback_id)
    if verdict.action == "publish":
        return verdict
    if verdict.reason in ("no_playback_id", "asset_errored"):
        return _fail("playback_ids_withdrawn", None)
    if seen.status == "missing" and not rules.at_home:
        return Verdict("wait", "wrong_environment", missing=None)
    if seen.status == "missing" and _grace_is_over(claim):
        return _fail("asset_deleted", None)
    return Verdict("wait", verdict.reason, verdict.message, missing=seen.status == "missing")


def _from_fact(seen: Observation, rules: Rules) -> Verdict:
    """Read the fact alone; `missing` marks what may yet be found."""
    match seen.subject, seen.status:
        case "none", _:
            return _fail("invalid_id", seen.error_message)
        case "upload", "waiting":
            return Verdict("wait", "upload_waiting")
        case "upload", "asset_created":
            return Verdict("wait", "asset_created")
        case "upload", "errored" | "cancelled" | "timed_out":
            return _fail(f"upload_{seen.status}", _said(seen))
        case "asset", "preparing":
            return Verdict("wait", "asset_preparing")
        case "asset", "ready":
            return _choose_playback_id(seen, rules)
        case "asset", "errored":
            return _fail("asset_errored", _said(seen))
        case subject, "missing":
            return Verdict("wait", f"{subject}_not_found", missing=True)
        case _, "rejected":
            return Verdict("wait", "mux_rejected", _said(seen), missing=True)
        case subject, "fault":
            why = f"Mux does not answer about this {subject}: {seen.error_message}"
            return Verdict("wait", "mux_fault", why, missing=None)
        case subject, status:
            return Verdict("wait", "unknown_status", f"The {subject} is {status!r}.")


def _choose_playback_id(seen: Observation, rules: Rules) -> Verdict:
    for policy in rules.playback_policies:
        for playback in seen.playback_ids:
            if playback.policy == policy:
                return Verdict("publish", "asset_ready", playback_id=playback.id)
    policies = sorted({playback.policy for playback in seen.playback_ids})
    have = f"only playback ids of policy {', '.join(policies)}" if policies else "no playback id"
    wanted = ", ".join(rules.playback_policies)
    return Verdict(
        "wait", "no_playback_id", f"The asset has {have}; accepted: {wanted}.", missing=True
    )


def _grace_is_over(claim: Claim) -> bool:
    """Tell whether this look, the next one that finds it missing, ends the grace."""
    since = claim.missing_seconds
    return since is not None and since >= GRACE_SECONDS and claim.missing_count + 1 >= GRACE_LOOKS


def _fail(error_type: str, detail: str | None) -> Verdict:
    return Verdict("fail", error_type, failure(error_type, detail))


def _said(seen: Observation) -> str | None:
    return mux_says(seen.error_type, seen.error_message)


def _last_answer(seen: Observation, verdict: Verdict) -> str:
    return verdict.message or f"Mux's last answer: the {seen.subject} is {seen.status!r}."


def pause_seconds(
    claim: Claim, jitter: float, *, swept: bool = False, events_arrive: bool = False
) -> float:
    """Give the seconds until the next look at a row that waits.

    5 s, times 1.5 at each look, to 30 s; always 4 s where a list answered, which costs the same
    however many rows are due. From its first half hour on a sixtieth of its age, to 5 minutes.
    While webhooks arrive 60 s, times 1.5 at each look, to 5 minutes. `jitter` in [0, 1) spreads the
    result by a tenth either way.
    """
    growth = PAUSE_GROWTH ** min(claim.check_count, 10)
    if events_arrive:
        pause = min(FIRST_PAUSE_BESIDE_EVENTS_SECONDS * growth, LATE_PAUSE_CAP_SECONDS)
    elif claim.age_seconds < STUCK_SECONDS and swept:
        pause = SWEPT_PAUSE_SECONDS
    elif claim.age_seconds < STUCK_SECONDS:
        pause = min(FIRST_PAUSE_SECONDS * growth, PAUSE_CAP_SECONDS)
    else:
        pause = min(claim.age_seconds / 60, LATE_PAUSE_CAP_SECONDS)
    return _spread(pause, jitter)


def _spread(pause: float, jitter: float) -> float:
    return pause * (1 + JITTER * (2 * jitter - 1))


def is_stuck(claim: Claim) -> bool:
    """Tell whether a row has been processing for longer than half an hour."""
    return claim.status == "processing" and claim.age_seconds >= STUCK_SECONDS


def unknown_values(seen: Observation) -> tuple[tuple[str, str], ...]:
    """List what Mux said that nobody here has heard of, as (kind, value)."""
    found = [(f"{seen.subject}_status", seen.status)] if _is_unknown_status(seen) else []
    found += [("policy", p.policy) for p in seen.playback_ids if p.policy not in KNOWN_POLICIES]
    return tuple(found)


def _is_unknown_status(seen: Observation) -> bool:
    return _from_fact(seen, Rules()).reason == "unknown_status"
