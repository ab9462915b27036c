"""What follows from the values themselves."""

from dataclasses import replace

import pytest

from tests.unit.test_decide import CLAIM
from worker.model import Query


def test_a_claim_is_looked_up_by_its_ids() -> None:
    """A new row was neither asked for nor missing; a ready one is only rechecked."""
    new = replace(CLAIM, check_count=0)
    assert new.query == Query("t1", "up1", None)
    missing = replace(CLAIM, asset_id="as1", check_count=3, missing_count=2)
    assert missing.query == Query("t1", "up1", "as1", was_asked=True, was_missing=True)
    assert replace(new, is_backlog=True).query == Query("t1", "up1", None, is_backlog=True)
    ready = replace(new, status="ready", asset_id="as1", playback_id="pub1")
    assert ready.query == Query("t1", "up1", "as1", is_recheck=True)


@pytest.mark.parametrize(
    ("upload_id", "expected"), [("up1", True), ("migrated", False), ("", False), ("a b", False)]
)
def test_only_what_can_be_an_id_is_requested(upload_id: str, expected: bool) -> None:
    """Where the upload is unknown there is nothing to request."""
    assert Query("t1", upload_id, "as1").has_upload is expected
