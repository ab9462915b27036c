from collections import Counter

from worker.errors import MuxUnauthorized, SupabaseUnavailable
from worker.telemetry.scan_history import MAX_ENTRIES, OutageState, ScanHistory, Service
from worker.telemetry.scan_report import ScanReport

TIMEOUT = SupabaseUnavailable("timeout", "Supabase did not answer in time.")
REFUSED = MuxUnauthorized("http_401", "Mux refuses the token.")


def test_scans_that_are_alike_are_one_entry() -> None:
    """Idle ones, and those that the same fault ended; the newest is first."""
    history = ScanHistory(dict, lambda: 100.0)
    for _ in range(3):
        history.scan_finished(ScanReport())
    history.scan_finished(
        ScanReport(claimed=2, outcomes=Counter(waiting=2), requests=1, seconds=0.5)
    )
    for _ in range(2):
        history.scan_failed(TIMEOUT)
    history.scan_failed(REFUSED)
    assert [(entry.times, entry.claimed, entry.error) for entry in history.newest_first] == [
        (1, 0, "mux: http_401"),
        (2, 0, "supabase: timeout"),
        (1, 2, None),
        (3, 0, None),
    ]


def test_the_history_takes_bounded_memory() -> None:
    """The oldest entries are dropped."""
    history = ScanHistory(dict)
    for number in range(MAX_ENTRIES + 5):
        history.scan_finished(ScanReport(claimed=number + 1))
    claimed = [entry.claimed for entry in history.newest_first]
    assert claimed == list(range(MAX_ENTRIES + 5, 5, -1))


def test_outages_are_those_of_the_loop() -> None:
    """The history keeps none of its own."""
    outages: dict[Service, OutageState] = {}
    history = ScanHistory(lambda: outages)
    history.scan_failed(TIMEOUT)
    assert history.outages == {}
    outages["supabase"] = OutageState(1.0, "timeout", "Supabase did not answer in time.", False)
    assert history.outages == outages
