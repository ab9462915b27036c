import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest
from pytest_mock import MockerFixture

from worker.errors import MuxUnavailable
from worker.model import MatchedObservation, Observation, OnSent, Page, Query, ignore
from worker.scan.observe import observe
from worker.scan.sweep import PageBudget

EMPTY = Page((), None)


class FakeMux:
    """A Mux with a few uploads and assets, which records its requests."""

    def __init__(
        self,
        *known: Observation,
        assets: tuple[Page, ...] = (),
        uploads: tuple[Page, ...] = (),
    ) -> None:
        self._lists = {"assets": assets or (EMPTY,), "uploads": uploads or (EMPTY,)}
        self._uploads = {seen.upload_id: seen for seen in known if seen.subject == "upload"}
        self._assets = {seen.asset_id: seen for seen in known if seen.subject == "asset"}
        self.sent: list[str] = []
        self.requests = 0
        self.is_down_after = 10**9

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an upload."""
        self._record(f"upload {upload_id}")
        gone = Observation("upload", "missing", "probe", upload_id=upload_id)
        return self._uploads.get(upload_id, gone)

    async def asset(self, asset_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an asset."""
        self._record(f"asset {asset_id}")
        gone = Observation("asset", "missing", "probe", asset_id=asset_id)
        return self._assets.get(asset_id, gone)

    async def control(self) -> None:
        """Succeed."""
        self._record("control")

    async def asset_of(self, upload_id: str, on_sent: OnSent = ignore) -> Observation | None:
        """Return the asset of an upload."""
        self._record(f"asset of {upload_id}")
        found = [seen for seen in self._assets.values() if seen.upload_id == upload_id]
        return found[0] if len(found) == 1 else None

    async def assets(self, cursor: str | None) -> Page:
        """Return a page of the list of assets."""
        return self._page("assets", cursor)

    async def uploads(self, cursor: str | None) -> Page:
        """Return a page of the list of uploads."""
        return self._page("uploads", cursor)

    async def environment(self) -> str:
        """Return the token's environment."""
        return "env1"

    def _page(self, which: str, cursor: str | None) -> Page:
        self._record(f"{which} page {cursor or 0}")
        pages, number = self._lists[which], int(cursor or 0)
        following = str(number + 1) if number + 1 < len(pages) else None
        return replace(pages[number], next=following)

    def _record(self, request: str) -> None:
        if len(self.sent) >= self.is_down_after:
            raise MuxUnavailable("connection", "down")
        self.sent.append(request)


def row(upload: str, asset: str | None = None, name: str = "t1", *, is_new: bool = False) -> Query:
    """Return the query for a row."""
    return Query(name, upload, asset, was_asked=not is_new)


def created(upload: str, asset: str | None) -> Observation:
    """Return an upload that has become an asset."""
    return Observation("upload", "asset_created", "probe", upload_id=upload, asset_id=asset)


def ready(asset: str, upload: str | None = None) -> Observation:
    """Return a ready asset."""
    return Observation("asset", "ready", "probe", asset_id=asset, upload_id=upload)


async def observed(mux: FakeMux, *queries: Query) -> list[Observation]:
    """Observe rows, and return the observations in their order."""
    pages = observe(queries, mux, asyncio.Event())
    return [match.observation async for page in pages for match in page]


@pytest.mark.parametrize(
    ("query", "known", "asked", "found"),
    [
        pytest.param(
            row("up1"), [], ["upload up1", "asset up1"],
            Observation("upload", "missing", "probe", upload_id="up1"), id="an unknown upload",
        ),
        pytest.param(
            row("up1"), [created("up1", "as1"), ready("as1")], ["upload up1", "asset as1"],
            ready("as1", "up1"), id="an upload that became an asset, in the same pass",
        ),
        pytest.param(
            row("up1", is_new=True), [ready("as1", "up1")], ["asset of up1"],
            ready("as1", "up1"), id="the first look at an upload that has an asset",
        ),
        pytest.param(
            row("up1", is_new=True), [], ["asset of up1", "upload up1", "asset up1"],
            Observation("upload", "missing", "probe", upload_id="up1"), id="a first look",
        ),
        pytest.param(
            row("up1", "as1"), [ready("as1", "up1")], ["asset as1"],
            ready("as1", "up1"), id="a known asset",
        ),
        pytest.param(
            row("up1", "as2"), [ready("as2", "up2"), created("up1", "as1"), ready("as1", "up1")],
            ["asset as2", "upload up1", "asset as1"],
            ready("as1", "up1"), id="an asset of another upload",
        ),
        pytest.param(
            row("up1", "as1"), [created("up1", "as1")], ["asset as1", "upload up1"],
            Observation("asset", "missing", "probe", upload_id="up1", asset_id="as1"),
            id="an asset that is gone",
        ),
        pytest.param(
            row("up1"), [created("up1", None), ready("as1", "up1")],
            ["upload up1", "asset of up1"],
            ready("as1", "up1"), id="an upload whose asset has no readable id",
        ),
        pytest.param(
            row("up1"), [created("up1", None)],
            ["upload up1", "asset of up1"],
            created("up1", None), id="nor is one listed",
        ),
        pytest.param(
            row("up1", is_new=True),
            [created("up1", "as2"), ready("as1", "up1"), ready("as2", "up1")],
            ["asset of up1", "upload up1", "asset as2"],
            ready("as2", "up1"), id="an upload that has two assets",
        ),
        pytest.param(
            row("as1"), [ready("as1", "up1")], ["upload as1", "asset as1"],
            ready("as1", "up1"), id="an asset's id where an upload's belongs",
        ),
        pytest.param(
            row("as1", "as1"), [ready("as1", "up1")], ["asset as1"],
            ready("as1", "up1"), id="an asset's id that was asked for before",
        ),
        pytest.param(
            row("as1"),
            [Observation("upload", "rejected", "probe", upload_id="as1"), ready("as1")],
            ["upload as1", "asset as1"],
            ready("as1"), id="an asset's id that Mux rejects as an upload's",
        ),
        pytest.param(
            replace(row("up1"), was_missing=True), [ready("up1")], ["upload up1"],
            Observation("upload", "missing", "probe", upload_id="up1"),
            id="an upload that was missing before",
        ),
        pytest.param(
            row("migrated", "as1"), [ready("as1", "up7")], ["asset as1"],
            ready("as1", "up7"), id="a migrated row",
        ),
        pytest.param(
            row("migrated"), [], [],
            Observation(
                "row", "invalid_id", "probe",
                error_message="Neither an upload nor an asset is known.",
            ),
            id="a migrated row without an asset",
        ),
    ],
)  # fmt: skip
async def test_a_probe_sends_as_few_requests_as_possible(
    query: Query, known: list[Observation], asked: list[str], found: Observation
) -> None:
    """Each kind of row has its requests and its observation."""
    mux = FakeMux(*known)
    assert await observed(mux, query) == [found]
    assert mux.sent == asked


@pytest.mark.parametrize(
    ("query", "known", "sent"),
    [
        pytest.param(row("up1"), [], ["upload up1", "asset up1"], id="nothing is known"),
        pytest.param(
            row("up1"), [created("up1", "as1"), ready("as1", "up1")],
            ["upload up1", "asset as1"], id="an upload that became an asset",
        ),
        pytest.param(row("as1"), [ready("as1")], ["upload as1", "asset as1"], id="an asset's id"),
        pytest.param(row("migrated", "as1"), [], ["asset as1"], id="only the asset's id"),
        pytest.param(row("up1", "as1"), [ready("as1", "up1")], ["asset as1"], id="both"),
    ],
)  # fmt: skip
async def test_a_row_of_the_backlog_costs_two_requests_at_most(
    query: Query, known: list[Observation], sent: list[str]
) -> None:
    """The list of its upload's assets is not read, since a backfill has read the list of all."""
    mux = FakeMux(*known)
    await observed(mux, replace(query, was_asked=False, is_backlog=True))
    assert mux.sent == sent


@pytest.mark.parametrize("poison", ["../assets/x", "", "x" * 256, "a\u202eb", "a\x00b", "a b"])
async def test_what_cannot_be_an_id_is_never_sent(poison: str) -> None:
    """The row has no valid id, and the message shows it escaped."""
    mux = FakeMux()
    (observation,) = await observed(mux, row(poison))
    assert mux.sent == []
    assert (observation.subject, observation.status) == ("row", "invalid_id")
    assert observation.error_message is not None
    assert observation.error_message.isprintable()


async def test_one_probe_serves_all_rows_with_the_same_ids() -> None:
    """Two lessons that share an upload need one probe, which matches both."""
    mux = FakeMux(uploading("up1"))
    one, other = row("up1", name="t1"), row("up1", name="t2")
    (page,) = [page async for page in observe([one, other], mux, asyncio.Event())]
    assert [match.queries for match in page] == [(one, other)]
    assert mux.sent == ["upload up1"]


async def test_a_fault_is_raised_after_the_earlier_observations() -> None:
    """They are yielded first, when Mux has an outage."""
    mux = FakeMux(*(uploading(f"up{n}") for n in range(9)))
    mux.is_down_after = 3
    queries = [row(f"up{n}", name=f"t{n}") for n in range(9)]
    pages = observe(queries, mux, asyncio.Event())
    assert len(await anext(pages)) == 3
    with pytest.raises(MuxUnavailable):
        await anext(pages)


async def test_a_stop_leaves_the_other_rows_unobserved() -> None:
    """No further request is sent."""
    stopping = asyncio.Event()
    stopping.set()
    mux = FakeMux()
    assert [page async for page in observe([row("up1")], mux, stopping)] == []
    assert mux.sent == []


async def test_a_page_holds_a_hundred_observations() -> None:
    """As many as one settle call takes."""
    queries = [row(f"up{n}", name=f"t{n}") for n in range(250)]
    pages = [len(page) async for page in observe(queries, FakeMux(), asyncio.Event())]
    assert pages == [100, 100, 50]


def listed(asset: str, upload: str | None = None, status: str = "ready") -> Observation:
    """Observe an asset in Mux's list."""
    return Observation("asset", status, "sweep", asset_id=asset, upload_id=upload)


def uploading(upload: str, status: str = "waiting", asset: str | None = None) -> Observation:
    """Observe an upload in Mux's list."""
    return Observation("upload", status, "sweep", upload_id=upload, asset_id=asset)


def said_of(page: Iterable[MatchedObservation]) -> dict[str, str]:
    """Return what was seen for each query."""
    return {
        query.key: f"{s.observation.subject} {s.observation.status}"
        for s in page
        for query in s.queries
    }


async def sweep(mux: FakeMux, *queries: Query) -> dict[str, str]:
    """Observe rows, lists first; give what was seen of each."""
    pages = observe(queries, mux, asyncio.Event(), PageBudget(len(queries)))
    return said_of([match async for page in pages for match in page])


async def test_rows_of_a_page_are_matched_and_the_others_probed() -> None:
    """Four rows, three of them on the first page, need one page and one probe."""
    page = Page(tuple(listed(f"as{n}", f"up{n}") for n in (9, 2, 1, 0)), None)
    mux = FakeMux(uploading("up3"), assets=(page,))
    queries = [row(f"up{n}", name=f"t{n}") for n in range(4)]
    assert await sweep(mux, *queries) == {
        "t0": "asset ready",
        "t1": "asset ready",
        "t2": "asset ready",
        "t3": "upload waiting",
    }
    assert mux.sent == ["assets page 0", "upload up3"]


async def test_an_assets_id_where_an_uploads_belongs_is_found_by_the_page() -> None:
    """The list answers for its row too, so that nothing is probed."""
    page = Page((listed("as0", "up0"), listed("as1", "up1"), listed("as2", "up2")), None)
    mux = FakeMux(assets=(page,))
    queries = [row("as0", name="t0"), row("up1", name="t1"), row("as2", name="t2")]
    assert await sweep(mux, *queries) == {f"t{n}": "asset ready" for n in range(3)}
    assert mux.sent == ["assets page 0"]


async def test_after_a_list_that_leads_back_the_rows_are_probed() -> None:
    """Mux answers the control request, so the fault is one of the list alone."""

    class Circle(FakeMux):
        async def assets(self, cursor: str | None) -> Page:
            return replace(await super().assets(cursor), next="1")

    pages = (Page((listed("as0", "up0"),), None), Page((listed("as1", "up1"),), None))
    mux = Circle(*(uploading(f"up{n}") for n in range(2, 6)), assets=pages)
    queries = [row(f"up{n}", f"as{n}", name=f"t{n}") for n in range(6)]
    seen = await sweep(mux, *queries)
    assert seen == {
        "t0": "asset ready",
        "t1": "asset ready",
        **{f"t{n}": "upload waiting" for n in range(2, 6)},
    }
    assert mux.sent[:3] == ["assets page 0", "assets page 1", "control"]


async def test_of_two_assets_of_one_upload_the_upload_names_the_one_that_counts() -> None:
    """A list with both of them settles neither: the upload is probed."""
    page = Page((listed("as9", "up0"), listed("as0", "up0"), listed("as1", "up1")), None)
    mux = FakeMux(created("up0", "as0"), ready("as0", "up0"), assets=(page,))
    queries = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    pages = observe(queries, mux, asyncio.Event(), PageBudget(3))
    seen = [s.observation.asset_id for page in [p async for p in pages] for s in page]
    assert seen == ["as1", "as0", None]
    assert "asset as9" not in mux.sent


@pytest.mark.parametrize("poison", ["", "x" * 256, "a b", "../x"])
async def test_an_id_that_cannot_be_one_matches_nothing_in_a_list(poison: str) -> None:
    """Not even an asset without an upload, which has no upload id either."""
    page = Page((listed("as9"), listed("as1", "up1"), listed("as2", "up2")), None)
    waits = [row(poison, name="t0"), row("migrated", poison, name="t3")]
    queries = [*waits, *(row(f"up{n}", name=f"t{n}") for n in (1, 2))]
    mux = FakeMux(assets=(page,))
    assert await sweep(mux, *queries) == {
        "t0": "row invalid_id",
        "t1": "asset ready",
        "t2": "asset ready",
        "t3": "row invalid_id",
    }
    assert mux.sent == ["assets page 0"]


async def test_rows_without_an_asset_are_looked_for_among_the_uploads() -> None:
    """One page of uploads covers three abandoned uploads, and none is probed."""
    mux = FakeMux(uploads=(Page(tuple(uploading(f"up{n}", "timed_out") for n in range(3)), None),))
    queries = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    assert await sweep(mux, *queries) == {f"t{n}": "upload timed_out" for n in range(3)}
    assert mux.sent == ["assets page 0", "uploads page 0"]


async def test_a_few_live_rows_among_the_backlog_are_not_looked_for_among_the_uploads() -> None:
    """A page of uploads costs no less than to probe them."""
    mux = FakeMux(*(uploading(f"up{n}") for n in range(6)))
    backlog = [replace(row(f"up{n}", name=f"t{n}"), is_backlog=True) for n in range(4)]
    live = [row(f"up{n}", name=f"t{n}") for n in (4, 5)]
    assert await sweep(mux, *live, *backlog) == {f"t{n}": "upload waiting" for n in range(6)}
    assert mux.sent == ["assets page 0", *(f"upload up{n}" for n in (4, 5, 0, 1, 2, 3))]


async def test_a_page_that_is_read_for_live_rows_answers_for_the_backlog_too() -> None:
    """Of assets and of uploads alike: none of these rows is probed."""
    assets = Page(tuple(listed(f"as{n}", f"up{n}") for n in range(2)), None)
    uploads = Page(tuple(uploading(f"up{n}", "timed_out") for n in range(2, 7)), None)
    mux = FakeMux(assets=(assets,), uploads=(uploads,))
    queries = [replace(row(f"up{n}", name=f"t{n}"), is_backlog=n % 2 == 0) for n in range(7)]
    queries += [row("up6", name="live")]
    assert set(await sweep(mux, *queries)) == {"live", *(f"t{n}" for n in range(7))}
    assert mux.sent == ["assets page 0", "uploads page 0"]


async def test_an_upload_that_has_an_asset_leads_to_it_in_the_same_scan() -> None:
    """The asset is newer than the list of assets: it is probed once."""
    page = Page(
        (uploading("up0"), uploading("up1"), uploading("up2", "asset_created", "as2")), None
    )
    mux = FakeMux(ready("as2", "up2"), uploads=(page,))
    queries = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    assert await sweep(mux, *queries) == {
        "t0": "upload waiting",
        "t1": "upload waiting",
        "t2": "asset ready",
    }
    assert mux.sent == ["assets page 0", "uploads page 0", "asset as2"]


async def test_an_upload_that_leads_to_a_probe_is_not_settled_beside_it() -> None:
    """The two pages are settled at the same time, and the second would find its row locked."""
    page = Page(
        (uploading("up0"), uploading("up1"), uploading("up2", "asset_created", "as2")), None
    )
    mux = FakeMux(ready("as2", "up2"), uploads=(page,))
    queries = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    pages = observe(queries, mux, asyncio.Event(), PageBudget(3))
    result = [[match.observation.upload_id for match in page] async for page in pages if page]
    assert result == [["up0", "up1"], ["up2"]]


async def test_rows_with_an_asset_are_not_looked_for_among_the_uploads() -> None:
    """Their assets are old, and each is probed by its id."""
    mux = FakeMux(*(ready(f"as{n}", f"up{n}") for n in range(3)))
    queries = [row(f"up{n}", f"as{n}", name=f"t{n}") for n in range(3)]
    assert await sweep(mux, *queries) == {f"t{n}": "asset ready" for n in range(3)}
    assert mux.sent == ["assets page 0", "asset as0", "asset as1", "asset as2"]


async def test_an_asset_that_the_pages_skip_is_probed() -> None:
    """An asset was deleted meanwhile, and another one moved to an earlier page."""
    first, second = (listed("as0", "up0"), listed("as1", "up1")), (listed("as3", "up3"),)
    mux = FakeMux(ready("as2", "up2"), assets=(Page(first, "1"), Page(second, None)))
    queries = [row(f"up{n}", name=f"t{n}", is_new=True) for n in range(5)]
    assert await sweep(mux, *queries) == {
        "t0": "asset ready",
        "t1": "asset ready",
        "t2": "asset ready",
        "t3": "asset ready",
        "t4": "upload missing",
    }
    assert mux.sent == [
        "assets page 0",
        "assets page 1",
        "asset of up2",
        "asset of up4",
        "upload up4",
        "asset up4",
    ]


@pytest.mark.parametrize(
    ("down_after", "seen_before"),
    [
        (0, {}),
        (1, {"t0": "asset preparing"}),
        (2, {"t0": "asset preparing", "t1": "upload waiting"}),
    ],
)
async def test_a_fault_of_a_list_is_raised_after_the_earlier_pages(
    down_after: int, seen_before: dict[str, str]
) -> None:
    """A fault of the assets, the uploads or a later probe leaves the other rows unobserved."""
    mux = FakeMux(
        assets=(Page((listed("as0", "up0", "preparing"),), None),),
        uploads=(Page((uploading("up1"),), None),),
    )
    mux.is_down_after = down_after
    queries = [row(f"up{n}", name=f"t{n}") for n in range(5)]
    found: dict[str, str] = {}

    async def gather() -> None:
        async for page in observe(queries, mux, asyncio.Event(), PageBudget(5)):
            found.update(said_of(page))

    with pytest.raises(MuxUnavailable):
        await gather()
    assert found == seen_before


@pytest.mark.parametrize(("pages_before", "asked"), [(1, 1), (2, 2)])
async def test_after_a_stop_between_the_lists_no_request_is_sent(
    pages_before: int, asked: int
) -> None:
    """Neither for the uploads nor for single rows."""
    mux = FakeMux(
        assets=(Page((listed("as0", "up0"),), None),), uploads=(Page((uploading("up1"),), None),)
    )
    stopping = asyncio.Event()
    queries = [row(f"up{n}", name=f"t{n}") for n in range(5)]
    number = 0
    async for _ in observe(queries, mux, stopping, PageBudget(5)):
        number += 1
        if number == pages_before:
            stopping.set()
    assert (number, len(mux.sent)) == (pages_before, asked)


async def test_unclaimed_uploads_of_the_list_are_yielded() -> None:
    """Another row may wait for them, so they are settled too."""
    page = Page((uploading("up9", "asset_created", "as9"), uploading("up1", "cancelled")), None)
    mux = FakeMux(uploads=(page,))
    queries = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    pages = observe(queries, mux, asyncio.Event(), PageBudget(3))
    result = [(s.observation.upload_id, len(s.queries)) async for page in pages for s in page]
    assert result == [("up9", 0), ("up1", 1), ("up0", 1), ("up2", 1)]


async def test_a_row_that_has_its_video_is_probed() -> None:
    """Only its asset is requested, also where a list for other rows has it."""
    known = Observation("asset", "ready", "probe", "up9", "as9")
    mux = FakeMux(known, assets=(Page((listed("as9", "up9"), listed("as1", "up1")), None),))
    recheck = replace(row("up9", "as9", name="t9"), is_recheck=True)
    queries = [recheck, *(row(f"up{n}", name=f"t{n}") for n in range(3))]
    seen = {}
    async for page in observe(queries, mux, asyncio.Event(), PageBudget(4)):
        seen.update({q.key: s.observation for s in page for q in s.queries})
    assert seen["t9"] == known
    assert mux.sent.count("asset as9") == 1
    assert not any("up9" in question for question in mux.sent)
    assert seen["t1"].source == "sweep"


class SlowMux(FakeMux):
    """A Mux whose uploads answer when the test lets them."""

    def __init__(self, *uploads: str) -> None:
        super().__init__(*(uploading(upload) for upload in uploads))
        self.may_answer = {upload: asyncio.Event() for upload in uploads}
        self.ended: list[str] = []
        self.has_ended = asyncio.Event()

    async def upload(self, upload_id: str, on_sent: OnSent = ignore) -> Observation:
        """Return an upload; a request that is cancelled takes a moment to end."""
        try:
            await self.may_answer[upload_id].wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            self.ended.append(upload_id)
            self.has_ended.set()
        return await super().upload(upload_id)


async def test_what_was_observed_does_not_wait_long_for_a_probe_that_is_slow(
    mocker: MockerFixture,
) -> None:
    """It is yielded after a while, and what comes later is another page."""
    mocker.patch("worker.scan.observe.PAGE_SECONDS", 0.001)
    mux = SlowMux("up1", "up2", "up3")
    mux.may_answer["up1"].set()
    queries = [row(f"up{n}", name=f"t{n}") for n in (1, 2, 3)]
    pages, found = observe(queries, mux, asyncio.Event()), []
    async for page in pages:
        found.append([match.observation.upload_id for match in page])
        following = f"up{len(found) + 1}"
        if following in mux.may_answer:
            mux.may_answer[following].set()
    assert found == [["up1"], ["up2"], ["up3"]]


async def test_observations_that_come_soon_after_each_other_are_one_page() -> None:
    """One call settles them all."""
    mux = SlowMux("up1", "up2")
    pages = observe([row(f"up{n}", name=f"t{n}") for n in (1, 2)], mux, asyncio.Event())
    reading = asyncio.ensure_future(anext(pages))
    for answer in mux.may_answer.values():
        for _ in range(9):
            await asyncio.sleep(0)
        answer.set()
    assert len(await reading) == 2
    await pages.aclose()


async def test_a_reader_that_stops_leaves_no_request_behind() -> None:
    """The requests under way are cancelled, and have ended when the reader goes on."""
    mux = SlowMux("up1", "up2", "up3")
    mux.may_answer["up1"].set()
    pages = observe([row(f"up{n}", name=f"t{n}") for n in (1, 2, 3)], mux, asyncio.Event())
    reading = asyncio.ensure_future(anext(pages))
    await mux.has_ended.wait()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await pages.aclose()
    assert sorted(mux.ended) == ["up1", "up2", "up3"]
