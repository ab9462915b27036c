"""Tell operators what a scan did: one line for each outcome that somebody may have to act on."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from worker.backoff import is_stuck
from worker.decide import unknown_values
from worker.model import Claim, ClaimVerdict, Outcome, Settlement
from worker.telemetry.hooks import Watch
from worker.telemetry.logs import Sparingly, get_logger

HOUR_SECONDS = 3600.0
IDLE_SECONDS = 60.0

TEST_ASSET = (
    "This is a test asset. Mux deletes it a day after it was made: upload the video without `test`."
)

_DONE = {"published": "lesson.published", "attached": "lesson.attached"}

log = get_logger()


@dataclass(slots=True)
class ScanReport:
    """What one scan did: rows claimed and handed back, outcomes by name, requests and seconds."""

    claimed: int = 0
    released: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    seconds: float = 0.0
    is_full: bool = False
    """Whether rows are left that are due as well."""

    left_to_others: bool = False
    """Whether what is due was left to the worker that sweeps."""

    unasked: int = 0
    """Rows that Mux's lists settled though nobody had claimed them."""

    @property
    def looked_at(self) -> int:
        """Count the rows of which something is known now."""
        return self.claimed - self.released + self.unasked


class Reporter:
    """Writes the log lines about lessons, and says no lasting thing twice within its time."""

    def __init__(self, watch: Watch | None = None) -> None:
        self.watch = watch or Watch()
        self._stuck = Sparingly(HOUR_SECONDS)
        self._refused = Sparingly(HOUR_SECONDS)
        self._elsewhere = Sparingly(HOUR_SECONDS)
        self._failed_ids = Sparingly(HOUR_SECONDS)
        self._unknown = Sparingly(math.inf)

    def tell(self, settlements: Sequence[Settlement], outcomes: Sequence[Outcome]) -> None:
        """Tell what came of the settlements of one page, which has one source."""
        if settlements:
            self.watch.settled(settlements[0].observation.source, outcomes)
        test_assets = {s.observation.asset_id for s in settlements if s.observation.is_test}
        for outcome in outcomes:
            self._tell_outcome(outcome, is_test=outcome.asset_id in test_assets)
        waiting = {outcome.tracking_id for outcome in outcomes if outcome.name == "waiting"}
        for settlement in settlements:
            self._tell_unknown(settlement)
            self._tell_fault(settlement)
            for claimed in settlement.claims:
                if claimed.claim.id in waiting and is_stuck(claimed.claim):
                    self._tell_stuck(settlement, claimed)

    def tell_notes(self, outcomes: Sequence[Outcome]) -> None:
        """Tell what came of facts that settle nothing, which only webhooks bring."""
        self.watch.settled("webhook", outcomes)
        for outcome in outcomes:
            self._tell_outcome(outcome)

    def _tell_outcome(self, outcome: Outcome, *, is_test: bool = False) -> None:
        match outcome.name:
            case "published" | "attached":
                write = log.warning if is_test else log.info
                write(
                    _DONE[outcome.name],
                    **_ids(outcome),
                    playback_id=outcome.playback_id,
                    waited_seconds=_rounded(outcome.age_seconds),
                    **({"message": TEST_ASSET} if is_test else {}),
                )
            case "failed":
                log.warning(
                    "lesson.failed",
                    **_ids(outcome),
                    error_type=outcome.reason,
                    message=outcome.message,
                    waited_seconds=_rounded(outcome.age_seconds),
                )
            case "updated":
                log.info("lesson.updated", **_ids(outcome), playback_id=outcome.playback_id)
            case "unplayable":
                log.warning(
                    "lesson.unplayable",
                    **_ids(outcome),
                    playback_id=outcome.playback_id,
                    error_type=outcome.reason,
                    message=outcome.message,
                )
            case "refused" if self._refused.may_say(outcome.sqlstate):
                log.error(
                    "lesson.refused",
                    **_ids(outcome),
                    sqlstate=outcome.sqlstate,
                    message=outcome.message,
                    **({"raised_by": outcome.raised_by} if outcome.raised_by else {}),
                )

    def _tell_unknown(self, settlement: Settlement) -> None:
        if settlement.observation.source != "probe" and not settlement.claims:
            return  # somebody else's, as far as we know
        for kind, value in unknown_values(settlement.observation):
            if self._unknown.may_say((kind, value)):
                log.warning("mux.unknown_value", kind=kind, value=value)

    def _tell_fault(self, settlement: Settlement) -> None:
        seen = settlement.observation
        if seen.status != "fault" or not self._failed_ids.may_say((seen.upload_id, seen.asset_id)):
            return
        ids = {"upload_id": seen.upload_id, "asset_id": seen.asset_id}
        log.warning(
            "mux.id_failed",
            **({"lesson_id": settlement.claims[0].claim.lesson_id} if settlement.claims else {}),
            **{name: value for name, value in ids.items() if value is not None},
            reason=seen.error_type,
            message=settlement.verdict.message,
        )

    def tell_environment(
        self, settlements: Sequence[Settlement], environment: str, home: str | None
    ) -> None:
        """Tell that Mux knows none of the ids in the token's environment, if that is so."""
        reasons = {c.verdict.reason for s in settlements for c in s.claims}
        if "wrong_environment" in reasons and self._elsewhere.may_say(environment):
            log.error(
                "mux.wrong_environment",
                environment=environment,
                last_found_in=home,
                message="Mux knows none of these ids in the token's environment. They wait, and "
                "are not failed, until one is found: check MUX_TOKEN_ID.",
            )

    def _tell_stuck(self, settlement: Settlement, claimed: ClaimVerdict) -> None:
        claim: Claim = claimed.claim
        if self._stuck.may_say(claim.id):
            log.warning(
                "lesson.stuck",
                lesson_id=claim.lesson_id,
                upload_id=claim.upload_id,
                asset_id=settlement.observation.asset_id or claim.asset_id,
                lesson_status=claim.lesson_status,
                reason=claimed.verdict.reason,
                message=claimed.verdict.message,
                waited_seconds=_rounded(claim.age_seconds),
            )


def _ids(outcome: Outcome) -> dict[str, Any]:
    ids = {
        "lesson_id": outcome.lesson_id,
        "upload_id": outcome.upload_id,
        "asset_id": outcome.asset_id,
    }
    return {name: value for name, value in ids.items() if value is not None}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


class Heartbeat:
    """Writes `scan.finished`: for every scan that claimed something, else once a minute."""

    def __init__(self) -> None:
        self._idle = Sparingly(IDLE_SECONDS)
        self._scans = 0

    def beat(self, report: ScanReport) -> None:
        """Tell that a scan has finished, together with the idle ones before it."""
        self._scans += 1
        if not report.claimed and not self._idle.may_say("idle"):
            return
        log.info(
            "scan.finished",
            scans=self._scans,
            claimed=report.claimed,
            **dict(sorted(report.outcomes.items())),
            released=report.released,
            mux_requests=report.requests,
            seconds=round(report.seconds, 3),
        )
        self._scans = 0
