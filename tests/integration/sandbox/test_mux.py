import time
from collections.abc import Iterator
from typing import Any

import httpx
import mux_python
import pytest
from mux_python.rest import ApiException

from sandbox.fault_injection import Fault
from sandbox.mux.clock import Clock, ManualClock
from sandbox.mux.rate_limit import RateLimits
from sandbox.mux.server import MuxSimulator
from sandbox.mux.state import MuxState
from sandbox.mux.timeline import AT_ONCE, Timeline

START = 1_750_000_000
ONE_MINUTE = Timeline(file_after_seconds=10, prepare_seconds=50)


@pytest.fixture
def clock() -> ManualClock:
    """Return a clock that stands still."""
    return ManualClock(START)


@pytest.fixture
def mux(clock: ManualClock) -> Iterator[MuxSimulator]:
    """Return a running Mux without rate limits."""
    state = MuxState(clock, seed=1)
    with MuxSimulator(state, limits=RateLimits.per_second(None, None)) as simulator:
        yield simulator


@pytest.fixture
def client(mux: MuxSimulator) -> Iterator[httpx.Client]:
    """Return a client with the simulator's token."""
    with httpx.Client(base_url=mux.url, auth=(mux.token_id, mux.token_secret)) as client:
        yield client


def _data(answer: httpx.Response) -> Any:
    assert answer.is_success, answer.text
    return answer.json()["data"]


def _upload(client: httpx.Client, upload_id: str) -> Any:
    return _data(client.get(f"/video/v1/uploads/{upload_id}"))


def _asset(client: httpx.Client, asset_id: str) -> Any:
    return _data(client.get(f"/video/v1/assets/{asset_id}"))


def _status_of(client: httpx.Client, asset_id: str) -> int:
    return client.get(f"/video/v1/assets/{asset_id}").status_code


def test_an_upload_waits_until_its_file_arrives(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """An upload has a URL until its file arrives, and then an asset id."""
    upload_id = mux.state.create_upload(ONE_MINUTE, passthrough="lesson", external_id="e")
    clock.advance(9)
    waiting = _upload(client, upload_id)
    clock.advance(1)
    created = _upload(client, upload_id)
    url = waiting.pop("url")
    assert url.startswith(f"{mux.url}/direct-uploads/")
    expected = {
        "id": upload_id,
        "timeout": 3600,
        "status": "waiting",
        "new_asset_settings": {
            "video_quality": "basic",
            "playback_policies": ["public"],
            "passthrough": "lesson",
            "meta": {"external_id": "e"},
        },
        "cors_origin": "*",
    }
    assert waiting == expected
    asset_id = mux.state.upload(upload_id).asset_id
    assert created == {**expected, "status": "asset_created", "asset_id": asset_id}


def test_an_asset_prepares_and_then_is_ready(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """An asset does not exist before its file, has its ids while preparing, and keeps them."""
    upload_id = mux.state.create_upload(ONE_MINUTE, passthrough="lesson", external_id="e")
    asset_id = mux.state.upload(upload_id).asset_id or ""
    assert _status_of(client, asset_id) == 404
    clock.advance(14)
    begun = _asset(client, asset_id)
    clock.advance(45)
    preparing = _asset(client, asset_id)
    clock.advance(1)
    ready = _asset(client, asset_id)
    [playback_id] = preparing["playback_ids"]
    assert preparing == {
        "id": asset_id,
        "created_at": str(START + 10),
        "status": "preparing",
        "upload_id": upload_id,
        "passthrough": "lesson",
        "meta": {"external_id": "e"},
        "playback_ids": [{"id": playback_id["id"], "policy": "public"}],
        "progress": {"state": "transcoding", "progress": 98},
        "max_resolution_tier": "1080p",
        "encoding_tier": "baseline",
        "video_quality": "basic",
        "master_access": "none",
        "mp4_support": "none",
        "ingest_type": "on_demand_direct_upload",
    }
    assert begun == {**preparing, "progress": {"state": "ingesting", "progress": 8}}
    finished = {"status": "ready", "progress": {"state": "completed", "progress": 100}}
    assert ready == {**ready, **preparing, **finished}


def test_an_errored_asset_says_why_and_keeps_its_playback_ids(
    client: httpx.Client, mux: MuxSimulator
) -> None:
    """An errored asset has Mux's error type, its messages, and its playback ids."""
    timeline = Timeline(0, 0, "asset_errored", "invalid_input", ("No video.", "No audio."))
    asset = _asset(client, mux.state.create_asset(timeline))
    assert asset["errors"] == {"type": "invalid_input", "messages": ["No video.", "No audio."]}
    assert (asset["status"], len(asset["playback_ids"])) == ("errored", 1)
    assert asset["progress"] == {"state": "errored", "progress": -1}


def test_an_errored_upload_says_why_and_has_no_asset(
    client: httpx.Client, mux: MuxSimulator
) -> None:
    """An errored upload has an error and no asset."""
    timeline = Timeline(0, 0, "upload_errored", "server_error", ("Lost.",))
    upload = _upload(client, mux.state.create_upload(timeline))
    assert upload["error"] == {"type": "server_error", "message": "Lost."}
    assert (upload["status"], "asset_id" in upload) == ("errored", False)
    assert _data(client.get("/video/v1/assets")) == []


def test_an_upload_times_out_at_its_timeout(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """An upload without a file is `waiting` until its timeout."""
    upload_id = mux.state.create_upload(Timeline(None), timeout_seconds=60)
    clock.advance(59)
    before = _upload(client, upload_id)["status"]
    clock.advance(1)
    assert (before, _upload(client, upload_id)["status"]) == ("waiting", "timed_out")


def test_a_file_that_comes_after_the_timeout_makes_no_asset(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """A file that would arrive too late finds the upload timed out."""
    upload_id = mux.state.create_upload(Timeline(61), timeout_seconds=60)
    clock.advance(100)
    assert _upload(client, upload_id)["status"] == "timed_out"
    assert _data(client.get("/video/v1/assets")) == []


def test_without_a_policy_the_key_is_missing_until_an_id_is_added(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """An asset without a policy has no `playback_ids` until a playback id is added."""
    late = Timeline(0, 0, late_policy="signed", late_after_seconds=60)
    asset_id = mux.state.create_asset(late, policies=())
    before = _asset(client, asset_id)
    clock.advance(60)
    after = _asset(client, asset_id)
    assert "playback_ids" not in before
    assert [playback_id["policy"] for playback_id in after["playback_ids"]] == ["signed"]


def test_assets_go_when_their_time_has_come(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """An asset is deleted by its timeline, by hand, and a test asset after 24 hours."""
    by_timeline = mux.state.create_asset(Timeline(0, 5, deleted_after_seconds=5))
    by_hand = mux.state.create_asset()
    body = {"cors_origin": "*", "test": True}
    made = _data(client.post("/video/v1/uploads", json=body))
    assert httpx.put(made["url"], content=b"video").status_code == 200
    test_asset = _upload(client, made["id"])["asset_id"]
    assets = (by_timeline, by_hand, test_asset)
    mux.state.delete_asset(by_hand)
    clock.advance(9)
    assert [_status_of(client, asset_id) for asset_id in assets] == [200, 404, 200]
    clock.advance(24 * 3600 - 10)
    assert [_status_of(client, asset_id) for asset_id in assets] == [404, 404, 200]
    clock.advance(1)
    assert [_status_of(client, asset_id) for asset_id in assets] == [404, 404, 404]


def test_a_browser_can_upload_from_start_to_end(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """An upload that is created over HTTP accepts its file once, and its asset becomes ready."""
    settings = {"playback_policy": ["signed"], "passthrough": "p", "meta": {"external_id": "e"}}
    body = {"cors_origin": "https://app.example", "timeout": 60, "new_asset_settings": settings}
    made = _data(client.post("/video/v1/uploads", json=body))
    sent = [httpx.put(made["url"], content=b"video").status_code for _ in range(2)]
    upload = _upload(client, made["id"])
    clock.advance(mux.state.timeline_for_clients.prepare_seconds)
    asset = _asset(client, upload["asset_id"])
    assert sent == [200, 403]
    assert upload["new_asset_settings"] == {
        "video_quality": "basic",
        "playback_policies": ["signed"],
        "passthrough": "p",
        "meta": {"external_id": "e"},
    }
    assert (asset["status"], asset["passthrough"], asset["meta"], asset["upload_id"]) == (
        "ready",
        "p",
        {"external_id": "e"},
        made["id"],
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"cors_origin": "*", "timeout": 59},
        {"cors_origin": "*", "timeout": True},
        {"cors_origin": "*", "test": "yes"},
        {"cors_origin": "*", "new_asset_settings": []},
        {"cors_origin": "*", "new_asset_settings": {"playback_policies": ["secret"]}},
        {"cors_origin": "*", "new_asset_settings": {"passthrough": "p" * 256}},
        {"cors_origin": "*", "new_asset_settings": {"meta": {"external_id": "e" * 129}}},
        [],
    ],
)
def test_a_wrong_upload_is_refused(client: httpx.Client, body: Any) -> None:
    """An invalid request gets a 400 and creates nothing."""
    answer = client.post("/video/v1/uploads", json=body)
    assert (answer.status_code, answer.json()["error"]["type"]) == (400, "invalid_parameters")
    assert _data(client.get("/video/v1/uploads")) == []


def test_only_a_waiting_upload_can_be_cancelled(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """An upload can be cancelled once; then it accepts no file, and cancelling is a 403."""
    upload_id = mux.state.create_upload(ONE_MINUTE)
    first = client.put(f"/video/v1/uploads/{upload_id}/cancel")
    clock.advance(60)
    second = client.put(f"/video/v1/uploads/{upload_id}/cancel")
    assert (_data(first)["status"], second.status_code) == ("cancelled", 403)
    assert _upload(client, upload_id)["status"] == "cancelled"
    assert _data(client.get("/video/v1/assets")) == []


def test_an_empty_file_and_an_unknown_url_are_refused(
    client: httpx.Client, mux: MuxSimulator
) -> None:
    """After an empty file the upload still waits; an unknown upload URL is a 404."""
    made = _data(client.post("/video/v1/uploads", json={"cors_origin": "*"}))
    assert httpx.put(made["url"], content=b"").status_code == 400
    assert httpx.put(f"{mux.url}/direct-uploads/unknown", content=b"video").status_code == 404
    assert _upload(client, made["id"])["status"] == "waiting"


def test_assets_are_listed_newest_first_page_by_page(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """Pages by number and by cursor give every asset once, the newest first."""
    made = []
    for _ in range(5):
        made.append(mux.state.create_asset())
        clock.advance(1)
    newest_first = made[::-1]
    by_page = [_listed(client, limit="2", page=str(page))[0] for page in (1, 2, 3, 4)]
    assert by_page == [newest_first[:2], newest_first[2:4], newest_first[4:], []]
    by_cursor = []
    ids, cursor = _listed(client, limit="2")
    while cursor is not None:
        by_cursor += ids
        ids, cursor = _listed(client, limit="2", cursor=cursor)
    assert by_cursor + ids == newest_first


def test_a_cursor_holds_its_place_while_assets_come_and_go(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """New assets do not shift what a cursor leads to, nor does deleting the one it stands on."""
    oldest, middle, newest = (mux.state.create_asset() for _ in range(3))
    ids, cursor = _listed(client, limit="2")
    clock.advance(1)
    mux.state.create_asset()
    mux.state.delete_asset(middle)
    assert ids == [newest, middle]
    assert _listed(client, limit="2", cursor=cursor or "") == ([oldest], None)


def test_lists_hold_25_by_default_and_at_most_100(client: httpx.Client, mux: MuxSimulator) -> None:
    """The page size is 25 by default and 100 at most, for both lists."""
    mux.state.seed(101)
    for path in ("/video/v1/assets", "/video/v1/uploads"):
        assert len(_data(client.get(path))) == 25
        assert len(_data(client.get(path, params={"limit": 100}))) == 100
        assert client.get(path, params={"limit": 101}).status_code == 400


def test_assets_can_be_filtered_by_upload(
    client: httpx.Client, mux: MuxSimulator, clock: ManualClock
) -> None:
    """The filter returns the upload's asset once it exists."""
    mux.state.seed(3)
    upload_id = mux.state.create_upload(ONE_MINUTE)
    before = _listed(client, upload_id=upload_id)
    clock.advance(10)
    after = _listed(client, upload_id=upload_id)
    assert (before, after) == (([], None), ([mux.state.upload(upload_id).asset_id], None))


def test_uploads_are_listed_newest_first_page_by_page(
    client: httpx.Client, mux: MuxSimulator
) -> None:
    """Pages of uploads give every upload once, the newest first."""
    made = [mux.state.create_upload() for _ in range(3)]
    pages = []
    for page in (1, 2, 3):
        found = _data(client.get("/video/v1/uploads", params={"limit": 2, "page": page}))
        pages.append([upload["id"] for upload in found])
    assert pages == [made[:0:-1], made[:1], []]


def test_another_environment_has_other_ids(client: httpx.Client, mux: MuxSimulator) -> None:
    """With the token of another environment every id is a 404."""
    [seeded] = mux.state.seed(1)
    ours = mux.state.environment_id
    mux.state.environment_id = "another"
    assert _data(client.get("/system/v1/whoami"))["environment_id"] == "another"
    assert _status_of(client, seeded.asset_id) == 404
    assert client.get(f"/video/v1/uploads/{seeded.upload_id}").status_code == 404
    assert _data(client.get("/video/v1/assets")) == []
    mux.state.environment_id = ours
    assert _asset(client, seeded.asset_id)["id"] == seeded.asset_id


def test_a_rotated_token_shuts_the_old_one_out(client: httpx.Client, mux: MuxSimulator) -> None:
    """After a rotation only the new token is let in."""
    mux.state.credentials = mux.state.new_credentials()
    new = (mux.token_id, mux.token_secret)
    answers = [client.get("/video/v1/assets"), client.get("/video/v1/assets", auth=new)]
    assert [answer.status_code for answer in answers] == [401, 200]


@pytest.mark.parametrize("header", ["", "Basic", "Basic %%%", "Basic bm9jb2xvbg==", "Bearer x"])
def test_a_malformed_authorization_is_a_401(mux: MuxSimulator, header: str) -> None:
    """A malformed Authorization header is refused like a wrong token."""
    headers = {"Authorization": header}
    assert httpx.get(f"{mux.url}/video/v1/assets", headers=headers).status_code == 401


def test_the_secret_is_not_shown() -> None:
    """The secret stays out of the credentials' `repr`."""
    credentials = MuxState(seed=1).credentials
    assert credentials.token_secret not in repr(credentials)


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_an_unknown_route_is_answered_in_the_shape_of_errors(
    client: httpx.Client, method: str
) -> None:
    """Routes and methods that are not simulated get JSON, as all errors do."""
    answers = [client.request(method, "/video/v1/nothing"), client.patch("/video/v1/assets/x")]
    assert [answer.status_code for answer in answers] == [404, 405]
    assert [answer.json()["error"]["type"] for answer in answers] == [
        "not_found",
        "invalid_request",
    ]


def test_reading_is_limited_as_mux_limits_it(client: httpx.Client, mux: MuxSimulator) -> None:
    """Of 20 reads at least 5 pass; every response has the limit, a 429 has none remaining.

    How many more pass depends on how long the 20 take: five for each second.
    """
    mux.limits = RateLimits.per_second(get=5, post=1)
    began = time.monotonic()
    answers = [client.get("/video/v1/assets") for _ in range(20)]
    allowed = 5 + 5 * (time.monotonic() - began)
    passed = [answer for answer in answers if answer.status_code == 200]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert 5 <= len(passed) <= allowed
    assert len(passed) + len(refused) == 20
    assert {answer.headers["X-RateLimit-Limit"] for answer in answers} == {"5"}
    assert {answer.headers["X-RateLimit-Remaining"] for answer in refused} == {"0"}
    assert passed[0].headers["X-RateLimit-Remaining"] == "4"
    assert {"Retry-After" in answer.headers for answer in refused} == {False}


def test_writing_is_limited_apart_from_reading(client: httpx.Client, mux: MuxSimulator) -> None:
    """A second write is refused while reads pass, with `Retry-After` if that is wanted."""
    mux.limits = RateLimits.per_second(get=1000, post=0.001, retry_after_seconds=7)
    body = {"cors_origin": "*"}
    writes = [client.post("/video/v1/uploads", json=body) for _ in range(2)]
    assert [answer.status_code for answer in writes] == [201, 429]
    assert writes[1].headers["Retry-After"] == "7"
    assert client.get("/video/v1/uploads").status_code == 200


def test_a_refused_token_uses_nothing_up(client: httpx.Client, mux: MuxSimulator) -> None:
    """A 401 has the limit's headers and does not count against the limit."""
    mux.limits = RateLimits.per_second(get=5, post=1)
    answer = client.get("/video/v1/assets", auth=("someone", "else"))
    limit, remaining = (answer.headers[f"X-RateLimit-{name}"] for name in ("Limit", "Remaining"))
    assert (answer.status_code, limit, remaining) == (401, "5", "5")


def test_requests_are_recorded_with_their_status(client: httpx.Client, mux: MuxSimulator) -> None:
    """The log has method, path, query, route and status, and None where a fault cut the answer."""
    asset_id = mux.state.create_asset()
    began = time.monotonic()
    client.get(f"/video/v1/assets/{asset_id}")
    client.get("/video/v1/assets/x")
    mux.faults.add(Fault("reset"), path="/video/v1/assets")
    with pytest.raises(httpx.TransportError):
        client.get("/video/v1/assets?limit=7")
    mux.requests.wait_for(3)
    requests = mux.requests.all()
    route = "GET /video/v1/assets/{asset_id}"
    assert [
        (request.method, request.path, request.query, request.route, request.status)
        for request in requests
    ] == [
        ("GET", f"/video/v1/assets/{asset_id}", "", route, 200),
        ("GET", "/video/v1/assets/x", "", route, 404),
        ("GET", "/video/v1/assets", "limit=7", "GET /video/v1/assets", None),
    ]
    assert mux.requests.by_route() == {route: 2, "GET /video/v1/assets": 1}
    moments = [moment for request in requests for moment in (request.began_at, request.at)]
    assert [began, *moments] == sorted([began, *moments])
    assert moments[-1] <= time.monotonic()
    mux.requests.clear()
    assert mux.requests.all() == []


def test_the_state_outlives_a_restart_at_the_same_url(
    client: httpx.Client, mux: MuxSimulator
) -> None:
    """A stopped simulator refuses connections; after the start it has the same state."""
    asset_id = mux.state.create_asset()
    mux.stop()
    with pytest.raises(httpx.ConnectError):
        client.get("/system/v1/whoami")
    mux.start()
    assert _asset(client, asset_id)["id"] == asset_id


def test_the_same_seed_gives_the_same_ids() -> None:
    """Ids look like Mux's, repeat with the seed, and differ without one."""
    first, again = (MuxState(ManualClock(), seed=7).seed(2) for _ in range(2))
    unseeded = [MuxState(ManualClock()).create_upload() for _ in range(2)]
    assert first == again
    assert unseeded[0] != unseeded[1]
    assert all(len(id_) == 44 and id_.isascii() and id_.isalnum() for id_ in unseeded)


def test_ten_thousand_assets_are_seeded_and_listed(client: httpx.Client, mux: MuxSimulator) -> None:
    """Many ready assets are created at once, and each is found by its ids."""
    seeded = mux.state.seed(10_000, external_id=lambda index: f"lesson-{index}")
    asset = _asset(client, seeded[9_999].asset_id)
    [playback_id] = seeded[9_999].playback_ids
    assert len({upload.upload_id for upload in seeded}) == 10_000
    assert asset["upload_id"] == seeded[9_999].upload_id
    assert asset["meta"] == {"external_id": "lesson-9999"}
    assert asset["playback_ids"] == [{"id": playback_id, "policy": "public"}]
    assert _listed(client, limit="1")[0] == [seeded[9_999].asset_id]


def test_a_clock_runs_at_its_speed_and_never_back() -> None:
    """A fast clock runs at its speed; a manual clock refuses to go back."""
    fast = Clock(speed=1e9)
    began, real = fast.now(), time.monotonic()
    while time.monotonic() - real < 0.001:
        pass
    assert fast.now() - began >= 1e6
    with pytest.raises(ValueError, match="cannot go back"):
        ManualClock().advance(-1)


@pytest.fixture
def api(mux: MuxSimulator) -> mux_python.ApiClient:
    """Return Mux's own client, without its hidden retries."""
    configuration = mux_python.Configuration()
    configuration.host = mux.url
    configuration.username, configuration.password = mux.token_id, mux.token_secret
    configuration.retries = False
    return mux_python.ApiClient(configuration)


def test_mux_python_reads_assets(api: mux_python.ApiClient, mux: MuxSimulator) -> None:
    """Mux's own client deserialises assets in every state, one by one and by the page."""
    assets = mux_python.AssetsApi(api)
    made = [
        mux.state.create_asset(Timeline(0, 60), passthrough="p", external_id="e"),
        mux.state.create_asset(AT_ONCE, policies=()),
        mux.state.create_asset(Timeline(0, 0, "asset_errored")),
    ]
    one_by_one = [assets.get_asset(asset_id).data for asset_id in made]
    page = assets.list_assets(limit=2)
    rest = assets.list_assets(limit=2, cursor=page.next_cursor)
    assert [asset.status for asset in one_by_one] == ["preparing", "ready", "errored"]
    assert (one_by_one[0].passthrough, one_by_one[0].meta.external_id) == ("p", "e")
    assert [playback_id.policy for playback_id in one_by_one[0].playback_ids] == ["public"]
    assert one_by_one[1].playback_ids is None
    assert one_by_one[2].errors.messages == ["The input file is not a video."]
    assert page.data + rest.data == one_by_one[::-1]
    assert rest.next_cursor is None


def test_mux_python_makes_reads_and_cancels_uploads(
    api: mux_python.ApiClient, mux: MuxSimulator
) -> None:
    """Mux's own client makes an upload, finds it alone and in the list, and cancels it."""
    uploads = mux_python.DirectUploadsApi(api)
    settings = mux_python.CreateAssetRequest(playback_policies=["public"], passthrough="p")
    asked = mux_python.CreateUploadRequest(cors_origin="*", timeout=60, new_asset_settings=settings)
    made = uploads.create_direct_upload(asked).data
    assert uploads.get_direct_upload(made.id).data == made
    assert uploads.list_direct_uploads(limit=100).data == [made]
    assert made.new_asset_settings.passthrough == "p"
    assert uploads.cancel_direct_upload(made.id).data.status == "cancelled"
    with pytest.raises(ApiException) as refused:
        uploads.cancel_direct_upload(made.id)
    assert refused.value.status == 403


def test_mux_python_finds_an_asset_by_its_upload(
    api: mux_python.ApiClient, mux: MuxSimulator
) -> None:
    """Mux's own client filters assets by upload, adds playback ids, and deletes."""
    assets = mux_python.AssetsApi(api)
    seeded = mux.state.seed(2)[0]
    [found] = assets.list_assets(upload_id=seeded.upload_id).data
    asked = mux_python.CreatePlaybackIDRequest(policy="signed")
    added = assets.create_asset_playback_id(found.id, asked).data
    ids = [playback_id.id for playback_id in assets.get_asset(found.id).data.playback_ids]
    assets.delete_asset(found.id)
    assert found.id == seeded.asset_id
    assert (added.policy, ids) == ("signed", [*seeded.playback_ids, added.id])
    with pytest.raises(mux_python.exceptions.NotFoundException):
        assets.get_asset(found.id)


def test_mux_python_raises_its_typed_errors(api: mux_python.ApiClient, mux: MuxSimulator) -> None:
    """Mux's own client raises its typed exceptions for the simulator's errors."""
    assets = mux_python.AssetsApi(api)
    mux.limits = RateLimits.per_second(get=0.001, post=None)
    assets.list_assets()
    with pytest.raises(ApiException) as too_many:
        assets.list_assets()
    mux.state.credentials = mux.state.new_credentials()
    with pytest.raises(mux_python.exceptions.UnauthorizedException):
        assets.list_assets()
    assert too_many.value.status == 429


def _listed(client: httpx.Client, **query: str) -> tuple[list[str], str | None]:
    answer = client.get("/video/v1/assets", params=query)
    ids = [asset["id"] for asset in _data(answer)]
    return ids, answer.json()["next_cursor"]
