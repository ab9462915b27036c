"""Whatever fails at Mux, an outage yields no observation, and a fault of one id costs no other."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.properties.observations import claims
from tests.sql.upload_world import Mux
from worker.decide import Rules, decide
from worker.errors import MuxUnauthorized, MuxUnavailable
from worker.model import Claim, Observation, OnSent, Query, ignore
from worker.scan.observe import observe
from worker.scan.probe import MuxError

FAULTS: list[MuxError] = [
    MuxUnavailable("timeout", "Mux does not answer in time."),
    MuxUnavailable("http_503", "Mux answered with 503."),
    MuxUnavailable("unreadable", "Mux's answer cannot be read."),
    MuxUnauthorized("http_401", "Mux refuses the access token."),
]
RATE_LIMIT = MuxUnavailable("rate_limited", "Mux asks for fewer requests.")


@dataclass(slots=True)
class FailingMux(Mux):
    """Answers that it knows nothing, or fails, for all or for some ids."""

    failing: dict[str, MuxError] | None = None
    outage: MuxError | None = None

    async def upload(self, upload_id: str, sent: OnSent = ignore) -> Observation:
        """Answer about an upload."""
        self._fail(upload_id)
        return Observation("upload", "missing", "probe", upload_id=upload_id)

    async def asset(self, asset_id: str, sent: OnSent = ignore) -> Observation:
        """Answer about an asset."""
        self._fail(asset_id)
        return Observation("asset", "missing", "probe", asset_id=asset_id)

    async def asset_of(self, upload_id: str, sent: OnSent = ignore) -> Observation | None:
        """Answer which asset an upload became."""
        self._fail(upload_id)
        return None

    async def control(self) -> None:
        """Answer the control request."""
        if self.outage is not None:
            raise self.outage

    def _fail(self, mux_id: str) -> None:
        fault = self.outage or (self.failing or {}).get(mux_id)
        if fault is not None:
            raise fault


async def _collect(queries: Sequence[Query], mux: FailingMux, observed: list[Observation]) -> None:
    async for page in observe(queries, mux, asyncio.Event()):
        observed += [match.observation for match in page]


ids = st.sampled_from([f"up{number}" for number in range(6)])
queries = st.lists(ids, unique=True, min_size=1).map(
    lambda names: [Query(name, name, None) for name in names]
)


@given(queries, st.sampled_from([*FAULTS, RATE_LIMIT]))
def test_in_an_outage_nothing_is_observed(queries: list[Query], outage: MuxError) -> None:
    """So no row is settled: the scan ends with the outage."""
    observed: list[Observation] = []
    with pytest.raises(type(outage)):
        asyncio.run(_collect(queries, FailingMux(outage=outage), observed))
    assert observed == []


@given(queries, st.dictionaries(ids, st.sampled_from(FAULTS)), claims)
def test_while_mux_answers_for_others_only_the_failing_ids_have_a_fault(
    queries: list[Query], failing: dict[str, MuxError], claim: Claim
) -> None:
    """Each id is observed once, and a fault fails no row before it is given up."""
    observed: list[Observation] = []
    asyncio.run(_collect(queries, FailingMux(failing=failing), observed))
    statuses = {observation.upload_id: observation.status for observation in observed}
    assert len(observed) == len(queries)
    assert statuses == {
        query.key: "fault" if query.key in failing else "missing" for query in queries
    }
    patient = Rules(give_up_after_seconds=claim.age_seconds + 1)
    faults = [observation for observation in observed if observation.status == "fault"]
    assert all(decide(fault, claim, patient).action == "wait" for fault in faults)
