"""What the last passes did, and which service was out: kept in memory, for those who watch."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from worker.errors import MuxUnauthorized, MuxUnavailable, Unavailable
from worker.telemetry.outcome_log import ScanReport

KEPT = 30

Service = Literal["mux", "supabase"]


@dataclass(frozen=True, slots=True)
class Pass:
    """A pass, or several alike in a row: idle ones, or those that one fault cut short."""

    ended_at: float
    """Unix seconds at which the last of them ended."""

    times: int = 1
    claimed: int = 0
    outcomes: Mapping[str, int] = field(default_factory=dict)
    requests: int = 0
    seconds: float = 0.0
    fault: str | None = None
    left_to_others: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        return not (self.claimed or self.outcomes or self.requests or self.fault)

    def is_like(self, other: "Pass") -> bool:
        """Tell whether two passes can be told as one."""
        both_idle = self.is_idle and other.is_idle
        return both_idle or (self.fault is not None and self.fault == other.fault)


@dataclass(frozen=True, slots=True)
class Fault:
    """A service that does not answer: since when, in unix seconds, why, and in which words."""

    since: float
    reason: str
    message: str
    needs_operator: bool


class Passes:
    """Remembers the last passes, and the outage under way."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._passes: deque[Pass] = deque(maxlen=KEPT)
        self.faults: dict[Service, Fault] = {}
        self.started_at = clock()

    @property
    def last_first(self) -> list[Pass]:
        """The passes, the last one first."""
        return list(reversed(self._passes))

    def finished(self, report: ScanReport) -> None:
        """Note a pass that ended by itself: both services answer."""
        self.faults.clear()
        self._note(
            Pass(
                self._clock(),
                claimed=report.claimed,
                outcomes=dict(sorted(report.outcomes.items())),
                requests=report.requests,
                seconds=report.seconds,
                left_to_others=report.left_to_others,
            )
        )

    def cut_short(self, fault: Unavailable) -> None:
        """Note a pass that a fault ended; who asks Mux has heard from Supabase."""
        service: Service = "supabase"
        if isinstance(fault, MuxUnavailable | MuxUnauthorized):
            service = "mux"
            self.faults.pop("supabase", None)
        now = self._clock()
        before = self.faults.get(service)
        since = before.since if before else now
        self.faults[service] = Fault(since, fault.reason, fault.message, fault.needs_operator)
        self._note(Pass(now, fault=f"{service}: {fault.reason}"))

    def _note(self, one: Pass) -> None:
        if self._passes and self._passes[-1].is_like(one):
            last = self._passes.pop()
            one = replace(one, times=last.times + 1)
        self._passes.append(one)
