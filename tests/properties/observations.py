"""Whatever Mux may say of a row, and whatever the row and the settings may be."""

from dataclasses import replace

from hypothesis import strategies as st

from tests.unit.test_decide import CLAIM
from worker.decide import Rules
from worker.model import Claim, Observation, PlaybackId

STATUSES = {
    "upload": ["waiting", "asset_created", "errored", "cancelled", "timed_out"],
    "asset": ["preparing", "ready", "errored", "deleted"],
}
UNANSWERED = ["missing", "rejected", "fault"]
PLAYBACK_IDS = st.sampled_from(["p1", "p2", "p3"])

texts = st.none() | st.text(max_size=400)
seconds = st.floats(0, 1e9) | st.sampled_from([0.0, 599.9, 600.0, 1799.9, 1800.0, 604_800.0])
counts = st.integers(0, 10**6) | st.integers(0, 5)
playback_ids = st.lists(
    st.builds(
        PlaybackId, PLAYBACK_IDS, st.sampled_from(["public", "signed", "drm", "none"]) | st.text()
    ),
    max_size=4,
).map(tuple)


def _observed(subject: str, *, by_event: bool) -> st.SearchStrategy[Observation]:
    statuses = st.sampled_from(STATUSES[subject]) | st.text(min_size=1).filter(
        lambda status: status not in UNANSWERED
    )
    return st.builds(
        Observation,
        subject=st.just(subject),
        status=statuses,
        source=st.just("webhook") if by_event else st.sampled_from(["probe", "sweep"]),
        upload_id=st.sampled_from(["up1", None]) if subject == "asset" else st.just("up1"),
        asset_id=st.sampled_from(["as1", None]) if subject == "upload" else st.just("as1"),
        playback_ids=playback_ids if subject == "asset" else st.just(()),
        error_type=texts,
        error_message=texts,
        is_test=st.booleans(),
        progress=st.none() | st.floats(0, 100),
    )


def _unanswered(subject: str) -> st.SearchStrategy[Observation]:
    return st.builds(
        Observation,
        subject=st.just(subject),
        status=st.sampled_from(UNANSWERED),
        source=st.just("probe"),
        upload_id=st.just("up1" if subject == "upload" else None),
        asset_id=st.just("as1" if subject == "asset" else None),
        error_type=texts,
        error_message=texts,
    )


invalid_ids = st.builds(
    Observation,
    subject=st.just("row"),
    status=st.just("invalid_id"),
    source=st.just("probe"),
    error_message=texts,
)
scanned_assets = _observed("asset", by_event=False) | _unanswered("asset")
"""What a scan finds of assets, and thus of ready rows."""

unanswered = _unanswered("upload") | _unanswered("asset")
"""What Mux does not know, rejects or does not answer about."""

scanned = scanned_assets | _observed("upload", by_event=False) | unanswered | invalid_ids
"""What a scan finds."""

reported = _observed("upload", by_event=True) | _observed("asset", by_event=True)
"""What an event reports."""


def _claim(missing: tuple[float, int] | None, **fields: object) -> Claim:
    missing_seconds, missing_count = missing or (None, 0)
    times = {"missing_seconds": missing_seconds, "missing_count": missing_count}
    return replace(CLAIM, **times, **fields)  # type: ignore[arg-type]  # each has its type below


missing = st.none() | st.tuples(seconds, counts.map(lambda count: count + 1))
"""For how long Mux has not known an id, and how often it said so."""

claims = st.builds(
    _claim,
    missing,
    age_seconds=seconds,
    check_count=counts,
    status=st.just("processing"),
    is_backlog=st.booleans(),
)
"""Rows that wait."""

rechecks = st.builds(
    _claim,
    missing,
    age_seconds=seconds,
    check_count=counts,
    status=st.just("ready"),
    playback_id=st.none() | PLAYBACK_IDS,
    asset_id=st.just("as1"),
)
"""Ready rows that are looked at once more."""

rules = st.builds(
    Rules,
    playback_policies=st.lists(
        st.sampled_from(["public", "signed", "drm"]), min_size=1, unique=True
    ).map(tuple),
    give_up_after_seconds=st.floats(0, 31_536_000, exclude_min=True) | st.just(604_800.0),
    environment_matches=st.booleans(),
    events_arrive=st.booleans(),
    interval_seconds=st.floats(0, 31_536_000, exclude_min=True) | st.just(5.0),
)
