from typing import Any

import pytest

from tests.unit.web.dashboard.test_alerts import NOW, lesson_json
from worker.model import Environment
from worker.web.dashboard.lesson_view import LessonView

ROW: dict[str, Any] = {
    "status": "ready", "upload_id": "up1", "temp_asset_id": None, "asset_id": "as/1",
    "playback_id": "pl1", "error_type": None, "error_message": None, "tracked_at": NOW,
    "settled_at": NOW, "last_checked_at": NOW, "next_check_at": None, "check_count": None,
    "is_missing": False, "progress": None, "age_seconds": 1.0,
}  # fmt: skip


def view(token: Environment | None = None, **more: Any) -> LessonView:
    """Return the view of a published lesson, with some fields changed."""
    published = {"state": "published", "asset_id": "as/1", "playback_id": "pl1", "row": ROW}
    return LessonView.from_json(lesson_json(**{**published, **more}), token)


@pytest.mark.parametrize(
    ("changes", "actions"),
    [
        ({}, ()),
        ({"playback_id": "other"}, ("publish",)),
        ({"state": "ready"}, ()),
        ({"state": "unplayable"}, ("publish",)),
        ({"state": "failed"}, ("retry", "publish")),
        ({"state": "waiting"}, ("check", "publish")),
        ({"state": "stuck"}, ("check", "publish")),
        ({"state": "untracked", "row": None}, ("publish",)),
        ({"state": "untracked", "row": None, "asset_id": None}, ()),
    ],
    ids=str,
)
def test_only_actions_that_make_sense_are_offered(
    changes: dict[str, Any], actions: tuple[str, ...]
) -> None:
    """A lesson that has its video needs none."""
    assert view(**changes).actions == actions


def test_the_asset_has_an_address_in_muxs_dashboard() -> None:
    """With the organization, if the token is of that environment; ids are percent-encoded."""
    assert view().asset_url is None
    url = "https://dashboard.mux.com/environments/env%3F1/video/assets/as%2F1"
    assert view(environment_id="env?1").asset_url == url
    token = Environment("env?1", "Production", "production", "org/1")
    url = "https://dashboard.mux.com/organizations/org%2F1/environments/env%3F1/video/assets/as%2F1"
    assert view(token, environment_id="env?1").asset_url == url
    url = "https://dashboard.mux.com/environments/env2/video/assets/as%2F1"
    assert view(token, environment_id="env2").asset_url == url
    assert view(environment_id="env1", row=None, state="untracked").asset_url is None


def playback(id_: str, policy: str) -> dict[str, Any]:
    """Return an event whose observation names a playback id."""
    return {"observation": {"playback_ids": [{"id": id_, "policy": policy}]}}


@pytest.mark.parametrize(
    ("events", "changes", "is_shown"),
    [
        ([playback("pl1", "public")], {}, True),
        ([{"observation": None}, playback("pl1", "public")], {"state": "ready"}, True),
        ([playback("pl1", "signed")], {}, False),
        ([playback("pl1", "public"), playback("pl1", "signed")], {}, False),
        ([playback("pl2", "public")], {}, False),
        ([playback("pl1", "public")], {"state": "unplayable"}, False),
        ([{"observation": {"playback_ids": ["pl1", 7]}}, {"observation": "x"}], {}, False),
        ([], {}, False),
    ],
    ids=str,
)
def test_a_picture_is_shown_of_a_public_video_alone(
    events: list[dict[str, Any]], changes: dict[str, Any], is_shown: bool
) -> None:
    """Mux said in the audit what the policy is; the latest word counts."""
    url = "https://image.mux.com/pl1/thumbnail.webp?width=480"
    assert view(events=events, **changes).thumbnail_url == (url if is_shown else None)
