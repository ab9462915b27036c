"""The requests of one probe: each is reported as sent, and each may fail alone."""

from dataclasses import replace

import pytest

from tests.unit.scan.test_observe import FakeMux, created, ready, row
from worker.errors import MuxUnauthorized, MuxUnavailable, Unavailable
from worker.model import Observation, OnSent, Query, Subject, ignore
from worker.scan.probe import Control, IdFault, MuxError, probe

DOWN = MuxUnavailable("http_500", "Mux answered with 500.")
REFUSED = MuxUnauthorized("http_403", "Mux refuses the access token.")


class FailingMux(FakeMux):
    """A Mux that reports what is sent, and fails at one request."""

    def __init__(self, *known: Observation, fails_at: str = "", fault: Unavailable = DOWN) -> None:
        super().__init__(*known)
        self.fails_at, self.fault = fails_at, fault

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an upload."""
        self._send(f"upload {upload_id}", on_sent)
        return await super().upload(upload_id)

    async def asset(self, asset_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an asset."""
        self._send(f"asset {asset_id}", on_sent)
        return await super().asset(asset_id)

    async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
        """Return the asset of an upload."""
        self._send(f"asset of {upload_id}", on_sent)
        return await super().asset_of(upload_id)

    async def control(self) -> None:
        """Succeed, or fail."""
        await super().control()
        if self.fails_at == "control":
            raise self.fault

    def _send(self, request: str, on_sent: OnSent) -> None:
        on_sent()
        if request == self.fails_at:
            raise self.fault


NEW = row("up1", is_new=True)
RECHECK = replace(row("up1", "as1"), is_recheck=True)
UNREADABLE = created("up1", None)


@pytest.mark.parametrize(
    ("query", "known", "requests"),
    [
        pytest.param(NEW, [], ["asset of up1", "upload up1", "asset up1"], id="a first look"),
        pytest.param(row("up1"), [UNREADABLE], ["upload up1", "asset of up1"], id="an odd id"),
        pytest.param(
            row("up1"), [created("up1", "as1")], ["upload up1", "asset as1"], id="an upload's"
        ),
        pytest.param(row("up1", "as1"), [ready("as1", "up1")], ["asset as1"], id="a known asset"),
        pytest.param(row("migrated", "as1"), [], ["asset as1"], id="a migrated row's"),
        pytest.param(RECHECK, [], ["asset as1"], id="a published lesson's"),
    ],
)
async def test_each_request_of_a_probe_is_reported_as_sent(
    query: Query, known: list[Observation], requests: list[str]
) -> None:
    """Rows whose request was sent go behind the others, if the scan ends before the response."""
    sent: list[None] = []
    mux = FailingMux(*known)
    await probe(query, mux, lambda: sent.append(None))
    assert (mux.sent, len(sent)) == (requests, len(requests))


@pytest.mark.parametrize(
    ("fault", "said"),
    [(DOWN, "Mux answered with 500."), (REFUSED, "Mux refuses this {subject}.")],
    ids=["down", "refused"],
)
@pytest.mark.parametrize(
    ("query", "known", "fails_at", "ids"),
    [
        pytest.param(NEW, [], "asset of up1", ("upload", "up1", None), id="the upload's assets"),
        pytest.param(NEW, [], "upload up1", ("upload", "up1", None), id="the upload"),
        pytest.param(NEW, [], "asset up1", ("asset", None, "up1"), id="its id as an asset's"),
        pytest.param(
            row("up1"), [UNREADABLE], "asset of up1", ("upload", "up1", None), id="an odd id"
        ),
        pytest.param(
            row("up1"), [created("up1", "as1")], "asset as1", ("asset", "up1", "as1"),
            id="the upload's asset",
        ),
        pytest.param(row("up1", "as1"), [], "asset as1", ("asset", None, "as1"), id="an asset"),
        pytest.param(
            row("migrated", "as1"), [], "asset as1", ("asset", None, "as1"), id="a migrated row's"
        ),
        pytest.param(RECHECK, [], "asset as1", ("asset", None, "as1"), id="a published lesson's"),
    ],
)  # fmt: skip
async def test_a_request_that_fails_is_a_fault_of_the_id_that_was_requested(
    query: Query,
    known: list[Observation],
    fails_at: str,
    ids: tuple[Subject, str | None, str | None],
    fault: MuxError,
    said: str,
) -> None:
    """With the reason, and beside an asset the upload only where that is known to have become it.

    A refused token is not what the instructor is shown: it is refused for this id.
    """
    subject, upload_id, asset_id = ids
    with pytest.raises(IdFault) as raised:
        await probe(query, FailingMux(*known, fails_at=fails_at, fault=fault), ignore)
    assert raised.value.error is fault
    assert raised.value.observation == Observation(
        subject,
        "fault",
        "probe",
        upload_id,
        asset_id,
        error_type=fault.reason,
        error_message=said.format(subject=subject),
    )


async def test_the_control_request_is_sent_once_a_scan() -> None:
    """Its answer stands for every other id that fails, and so does its fault."""
    mux = FailingMux()
    control = Control(mux)
    for _ in range(3):
        await control.check(DOWN)
    assert mux.sent == ["control"]
    mux = FailingMux(fails_at="control", fault=REFUSED)
    control = Control(mux)
    for _ in range(3):
        with pytest.raises(MuxUnauthorized):
            await control.check(DOWN)
    assert mux.sent == ["control"]


async def test_a_rate_limit_is_raised_without_a_control_request() -> None:
    """Another request would make it worse."""
    mux, limited = FailingMux(), MuxUnavailable("rate_limited", "slower")
    with pytest.raises(MuxUnavailable) as raised:
        await Control(mux).check(limited)
    assert (raised.value, mux.sent) == (limited, [])
