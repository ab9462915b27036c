"""Log what scans, webhooks, adoption and operators did: a line for what may need an operator."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from worker.backoff import is_stuck
from worker.decide import unknown_values
from worker.errors import Unavailable
from worker.model import ClaimVerdict, Outcome, Settlement
from worker.telemetry.hooks import Telemetry
from worker.telemetry.logs import HOUR_SECONDS, LogThrottle, get_logger
from worker.telemetry.scan_report import ScanReport
from worker.wording import backfill_result

MINUTE_SECONDS = 60.0

TEST_ASSET = (
    "This is a test asset. Mux deletes it a day after it was made: upload the video without `test`."
)

_IDS = ("lesson_id", "upload_id", "asset_id")

_LINES: Mapping[str, tuple[str, str, tuple[str, ...]]] = {
    "published": ("info", "lesson.published", ("playback_id", "waited_seconds", "actor")),
    "attached": ("info", "lesson.attached", ("playback_id", "waited_seconds", "actor")),
    "updated": ("info", "lesson.updated", ("playback_id",)),
    "restored": ("info", "lesson.restored", ("playback_id",)),
    "adopted": ("info", "lesson.adopted", ()),
    "failed": ("warning", "lesson.failed", ("error_type", "message", "waited_seconds")),
    "unplayable": ("warning", "lesson.unplayable", ("playback_id", "error_type", "message")),
    "disputed": ("warning", "adoption.failed", ("reason", "message")),
    "refused": ("error", "lesson.refused", ("sqlstate", "message", "raised_by")),
}
"""The level, the event, and the fields besides the ids of each outcome that is logged."""

log = get_logger()


class OutcomeLog(Telemetry):
    """Writes the log lines about lessons and scans; a lasting problem is logged once an hour."""

    def __init__(self) -> None:
        self._once = LogThrottle(math.inf)
        self._hourly = LogThrottle(HOUR_SECONDS)
        self._every_minute = LogThrottle(MINUTE_SECONDS)
        self._scans = 0

    def settled(
        self,
        settlements: Sequence[Settlement],
        outcomes: Sequence[Outcome],
        actor: str | None = None,
    ) -> None:
        """Log the outcomes of a page of settlements."""
        test_assets = {s.observation.asset_id for s in settlements if s.observation.is_test}
        for outcome in outcomes:
            self._log_outcome(outcome, is_test=outcome.asset_id in test_assets, actor=actor)
        waiting = {outcome.tracking_id for outcome in outcomes if outcome.name == "waiting"}
        for settlement in settlements:
            self._log_unknown_values(settlement)
            self._log_failed_id(settlement)
            for claimed in settlement.claims:
                if claimed.claim.id in waiting and is_stuck(claimed.claim):
                    self._log_stuck(settlement, claimed)

    def adoption_failed(self, error: Unavailable, message: str) -> None:
        """Log an error that only the adoption meets; one that may pass, once an hour."""
        if error.needs_operator:
            log.error("adoption.failed", reason=error.reason, message=message)
        elif self._hourly.allow(("adoption.failed", error.reason)):
            log.warning("adoption.failed", reason=error.reason, message=message)

    def id_failed(
        self, ids: Mapping[str, str], lesson_id: str | None, reason: str | None, message: str | None
    ) -> None:
        """Log that Mux does not answer about an id alone, once an hour."""
        if self._hourly.allow(("mux.id_failed", *ids.items())):
            lesson = {} if lesson_id is None else {"lesson_id": lesson_id}
            log.warning("mux.id_failed", **lesson, **ids, reason=reason, message=message)

    def environment_mismatched(
        self, settlements: Sequence[Settlement], environment: str, recorded: str | None
    ) -> None:
        """Log that Mux knows none of the ids in the token's environment, if so."""
        reasons = {c.verdict.reason for s in settlements for c in s.claims}
        if "wrong_environment" in reasons and self._hourly.allow(("environment", environment)):
            log.error(
                "mux.wrong_environment",
                environment=environment,
                last_found_in=recorded,
                message="Mux knows none of these ids in the token's environment: lessons wait. "
                "Check MUX_TOKEN_ID.",
            )

    def scan_finished(self, report: ScanReport) -> None:
        """Log a scan that settled rows; once a minute idle ones, and those that found rows waiting.

        While an upload is in flight there is a scan each second. `scans` counts them, and the level
        debug shows each.
        """
        self._scans += 1
        is_quiet = not report.released and report.outcomes.keys() <= {"waiting", "unchanged"}
        is_logged = not is_quiet or self._every_minute.allow(
            ("scan.finished", bool(report.claimed))
        )
        write = log.info if is_logged else log.debug
        write(
            "scan.finished",
            scans=self._scans,
            claimed=report.claimed,
            **dict(sorted(report.outcomes.items())),
            released=report.released,
            mux_requests=report.requests,
            seconds=round(report.seconds, 3),
        )
        self._scans = 0 if is_logged else self._scans

    def mux_retried(self, error: Unavailable, attempt: int, pause_seconds: float) -> None:
        """Log that a request to Mux will be repeated, each reason once a minute."""
        if self._every_minute.allow(("mux.retry", error.reason)):
            log.info(
                "mux.retry",
                reason=error.reason,
                message=error.message,
                attempt=attempt,
                pause_seconds=round(pause_seconds, 2),
            )

    def _log_outcome(self, outcome: Outcome, *, is_test: bool, actor: str | None) -> None:
        if outcome.name not in _LINES or not self._is_new(outcome):
            return
        level, event, names = _LINES[outcome.name]
        fields = asdict(outcome) | {
            "error_type": outcome.reason,
            "message": outcome.message or backfill_result(outcome.reason or ""),
            "waited_seconds": _rounded(outcome.age_seconds),
            "actor": actor,
        }
        if is_test and outcome.name in ("published", "attached"):
            level, names, fields["message"] = "warning", (*names, "message"), TEST_ASSET
        known = {name: fields[name] for name in _IDS + names if fields[name] is not None}
        getattr(log, level)(event, **known)

    def _is_new(self, outcome: Outcome) -> bool:
        """Whether an outcome is no lasting problem that was logged within the hour."""
        lasting = {"disputed": outcome.lesson_id, "refused": outcome.sqlstate}
        key = (outcome.name, lasting.get(outcome.name))
        return outcome.name not in lasting or self._hourly.allow(key)

    def _log_unknown_values(self, settlement: Settlement) -> None:
        if settlement.observation.source != "probe" and not settlement.claims:
            return  # it may be about a video of another application
        for kind, value in unknown_values(settlement.observation):
            if self._once.allow((kind, value)):
                log.warning("mux.unknown_value", kind=kind, value=value)

    def _log_failed_id(self, settlement: Settlement) -> None:
        observation = settlement.observation
        if observation.status == "fault":
            ids = {"upload_id": observation.upload_id, "asset_id": observation.asset_id}
            self.id_failed(
                {name: value for name, value in ids.items() if value is not None},
                settlement.claims[0].claim.lesson_id if settlement.claims else None,
                observation.error_type,
                settlement.verdict.message,
            )

    def _log_stuck(self, settlement: Settlement, claimed: ClaimVerdict) -> None:
        claim = claimed.claim
        if self._hourly.allow(("lesson.stuck", claim.id)):
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


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
