import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from tests.unit.test_decide import CLAIM
from worker.errors import MuxUnavailable
from worker.model import Claim, MatchedObservation, Observation, OnSent, Page, ignore
from worker.scan.observe import observe
from worker.scan.sweep import PageBudget

EMPTY = Page((), None)


class FakeMux:
    """Knows some uploads and assets, and remembers what it was asked."""

    def __init__(
        self,
        *known: Observation,
        assets: tuple[Page, ...] = (),
        uploads: tuple[Page, ...] = (),
    ) -> None:
        self._lists = {"assets": assets or (EMPTY,), "uploads": uploads or (EMPTY,)}
        self._uploads = {seen.upload_id: seen for seen in known if seen.subject == "upload"}
        self._assets = {seen.asset_id: seen for seen in known if seen.subject == "asset"}
        self.asked: list[str] = []
        self.requests = 0
        self.is_down_after = 10**9

    async def upload(self, upload_id: str, sent: OnSent = ignore) -> Observation:
        """Answer about an upload."""
        self._note(f"upload {upload_id}")
        gone = Observation("upload", "missing", "probe", upload_id=upload_id)
        return self._uploads.get(upload_id, gone)

    async def asset(self, asset_id: str, sent: OnSent = ignore) -> Observation:
        """Answer about an asset."""
        self._note(f"asset {asset_id}")
        gone = Observation("asset", "missing", "probe", asset_id=asset_id)
        return self._assets.get(asset_id, gone)

    async def control(self) -> None:
        """Answer the control question."""
        self._note("control")

    async def asset_of(self, upload_id: str, sent: OnSent = ignore) -> Observation | None:
        """Answer about the asset of an upload."""
        self._note(f"asset of {upload_id}")
        found = [seen for seen in self._assets.values() if seen.upload_id == upload_id]
        return found[0] if len(found) == 1 else None

    async def assets(self, at: str | None) -> Page:
        """Give a page of the list of assets."""
        return self._page("assets", at)

    async def uploads(self, at: str | None) -> Page:
        """Give a page of the list of uploads."""
        return self._page("uploads", at)

    async def environment(self) -> str:
        """Return the token's environment."""
        return "env1"

    def _page(self, which: str, at: str | None) -> Page:
        self._note(f"{which} page {at or 0}")
        pages, number = self._lists[which], int(at or 0)
        following = str(number + 1) if number + 1 < len(pages) else None
        return replace(pages[number], next=following)

    def _note(self, question: str) -> None:
        if len(self.asked) >= self.is_down_after:
            raise MuxUnavailable("connection", "down")
        self.asked.append(question)


def row(upload: str, asset: str | None = None, name: str = "t1", looks: int = 1) -> Claim:
    """Claim a row."""
    return replace(CLAIM, id=name, upload_id=upload, asset_id=asset, check_count=looks)


def created(upload: str, asset: str | None) -> Observation:
    """Observe an upload that has become an asset."""
    return Observation("upload", "asset_created", "probe", upload_id=upload, asset_id=asset)


def ready(asset: str, upload: str | None = None) -> Observation:
    """Observe a ready asset."""
    return Observation("asset", "ready", "probe", asset_id=asset, upload_id=upload)


async def seen(mux: FakeMux, *claims: Claim) -> list[Observation]:
    """Observe rows and give the observations in the order they came."""
    pages = observe(claims, mux, asyncio.Event())
    return [sighting.observation async for page in pages for sighting in page]


@pytest.mark.parametrize(
    ("claim", "known", "asked", "found"),
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
            row("up1", looks=0), [ready("as1", "up1")], ["asset of up1"],
            ready("as1", "up1"), id="the first look at an upload that has an asset",
        ),
        pytest.param(
            row("up1", looks=0), [], ["asset of up1", "upload up1", "asset up1"],
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
            row("up1", looks=0), [created("up1", "as2"), ready("as1", "up1"), ready("as2", "up1")],
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
            row("migrated", "as1"), [ready("as1", "up7")], ["asset as1"],
            ready("as1", "up7"), id="a migrated row",
        ),
        pytest.param(
            row("migrated"), [], [],
            Observation(
                "none", "unaskable", "probe",
                error_message="The upload is not known and neither is a real asset.",
            ),
            id="a migrated row without an asset",
        ),
    ],
)  # fmt: skip
async def test_the_cheapest_questions_that_tell(
    claim: Claim, known: list[Observation], asked: list[str], found: Observation
) -> None:
    """Each kind of row leads to its questions and to what they say."""
    mux = FakeMux(*known)
    assert await seen(mux, claim) == [found]
    assert mux.asked == asked


@pytest.mark.parametrize("poison", ["../assets/x", "", "x" * 256, "a\u202eb", "a\x00b", "a b"])
async def test_what_cannot_be_an_id_never_reaches_mux(poison: str) -> None:
    """It is unaskable, and shown harmlessly."""
    mux = FakeMux()
    (observation,) = await seen(mux, row(poison))
    assert mux.asked == []
    assert (observation.subject, observation.status) == ("none", "unaskable")
    assert observation.error_message is not None
    assert observation.error_message.isprintable()


async def test_one_question_serves_all_rows_that_ask_it() -> None:
    """Two lessons that share an upload lead to one question and one sighting of both."""
    mux = FakeMux(uploading("up1"))
    one, other = row("up1", name="t1"), row("up1", name="t2")
    (page,) = [page async for page in observe([one, other], mux, asyncio.Event())]
    assert [sighting.claims for sighting in page] == [(one, other)]
    assert mux.asked == ["upload up1"]


async def test_a_fault_comes_after_what_was_seen() -> None:
    """What was observed before Mux went down is given, then the fault is raised."""
    mux = FakeMux(*(uploading(f"up{n}") for n in range(9)))
    mux.is_down_after = 3
    claims = [row(f"up{n}", name=f"t{n}") for n in range(9)]
    pages = observe(claims, mux, asyncio.Event())
    assert len(await anext(pages)) == 3
    with pytest.raises(MuxUnavailable):
        await anext(pages)


async def test_a_stop_leaves_the_rest_unobserved() -> None:
    """Once a stop is asked for, no new question is put."""
    stopping = asyncio.Event()
    stopping.set()
    mux = FakeMux()
    assert [page async for page in observe([row("up1")], mux, stopping)] == []
    assert mux.asked == []


async def test_pages_hold_a_hundred() -> None:
    """What comes at once is given a hundred at a time, as a settle takes it."""
    claims = [row(f"up{n}", name=f"t{n}") for n in range(250)]
    pages = [len(page) async for page in observe(claims, FakeMux(), asyncio.Event())]
    assert pages == [100, 100, 50]


def listed(asset: str, upload: str | None = None, status: str = "ready") -> Observation:
    """Observe an asset in Mux's list."""
    return Observation("asset", status, "sweep", asset_id=asset, upload_id=upload)


def uploading(upload: str, status: str = "waiting", asset: str | None = None) -> Observation:
    """Observe an upload in Mux's list."""
    return Observation("upload", status, "sweep", upload_id=upload, asset_id=asset)


def said_of(page: Iterable[MatchedObservation]) -> dict[str, str]:
    """Give what was seen of each claimed row."""
    return {
        claim.id: f"{s.observation.subject} {s.observation.status}"
        for s in page
        for claim in s.claims
    }


async def sweep(mux: FakeMux, *claims: Claim) -> dict[str, str]:
    """Observe rows, lists first; give what was seen of each."""
    pages = observe(claims, mux, asyncio.Event(), PageBudget(len(claims)))
    return said_of([sighting async for page in pages for sighting in page])


async def test_a_page_answers_for_all_that_are_on_it_and_the_rest_is_probed() -> None:
    """Four rows, three of them on the first page: one page and one question."""
    page = Page(tuple(listed(f"as{n}", f"up{n}") for n in (9, 2, 1, 0)), None)
    mux = FakeMux(uploading("up3"), assets=(page,))
    claims = [row(f"up{n}", name=f"t{n}") for n in range(4)]
    assert await sweep(mux, *claims) == {
        "t0": "asset ready",
        "t1": "asset ready",
        "t2": "asset ready",
        "t3": "upload waiting",
    }
    assert mux.asked == ["assets page 0", "upload up3"]


async def test_of_two_assets_of_one_upload_the_one_counts_that_the_upload_names() -> None:
    """A list with both of them settles neither: the upload is asked."""
    page = Page((listed("as9", "up0"), listed("as0", "up0"), listed("as1", "up1")), None)
    mux = FakeMux(created("up0", "as0"), ready("as0", "up0"), assets=(page,))
    claims = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    pages = observe(claims, mux, asyncio.Event(), PageBudget(3))
    seen = [s.observation.asset_id for page in [p async for p in pages] for s in page]
    assert seen == ["as1", "as0", None]
    assert "asset as9" not in mux.asked


@pytest.mark.parametrize("poison", ["", "x" * 256, "a b", "../x"])
async def test_an_id_that_cannot_be_one_matches_nothing_in_a_list(poison: str) -> None:
    """Not even an asset without an upload, which has no upload id either."""
    page = Page((listed("as9"), listed("as1", "up1"), listed("as2", "up2")), None)
    waits = [row(poison, name="t0"), row("migrated", poison, name="t3")]
    claims = [*waits, *(row(f"up{n}", name=f"t{n}") for n in (1, 2))]
    mux = FakeMux(assets=(page,))
    assert await sweep(mux, *claims) == {
        "t0": "none unaskable",
        "t1": "asset ready",
        "t2": "asset ready",
        "t3": "none unaskable",
    }
    assert mux.asked == ["assets page 0"]


async def test_rows_without_an_asset_are_looked_for_among_the_uploads() -> None:
    """Three abandoned uploads are told by one page of uploads, and none is asked for alone."""
    mux = FakeMux(uploads=(Page(tuple(uploading(f"up{n}", "timed_out") for n in range(3)), None),))
    claims = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    assert await sweep(mux, *claims) == {f"t{n}": "upload timed_out" for n in range(3)}
    assert mux.asked == ["assets page 0", "uploads page 0"]


async def test_an_upload_that_has_an_asset_leads_to_it_in_the_same_pass() -> None:
    """It was made after the assets were listed: the asset is asked for, once."""
    page = Page(
        (uploading("up0"), uploading("up1"), uploading("up2", "asset_created", "as2")), None
    )
    mux = FakeMux(ready("as2", "up2"), uploads=(page,))
    claims = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    assert await sweep(mux, *claims) == {
        "t0": "upload waiting",
        "t1": "upload waiting",
        "t2": "asset ready",
    }
    assert mux.asked == ["assets page 0", "uploads page 0", "asset as2"]


async def test_rows_with_an_asset_are_not_looked_for_among_the_uploads() -> None:
    """Their assets are old, and each is asked for by its id."""
    mux = FakeMux(*(ready(f"as{n}", f"up{n}") for n in range(3)))
    claims = [row(f"up{n}", f"as{n}", name=f"t{n}") for n in range(3)]
    assert await sweep(mux, *claims) == {f"t{n}": "asset ready" for n in range(3)}
    assert mux.asked == ["assets page 0", "asset as0", "asset as1", "asset as2"]


async def test_what_was_skipped_between_two_pages_is_asked_for() -> None:
    """Something was deleted while we walked, and one asset moved to a page we had seen already."""
    first, second = (listed("as0", "up0"), listed("as1", "up1")), (listed("as3", "up3"),)
    mux = FakeMux(ready("as2", "up2"), assets=(Page(first, "1"), Page(second, None)))
    claims = [row(f"up{n}", name=f"t{n}", looks=0) for n in range(5)]
    assert await sweep(mux, *claims) == {
        "t0": "asset ready",
        "t1": "asset ready",
        "t2": "asset ready",
        "t3": "asset ready",
        "t4": "upload missing",
    }
    assert mux.asked == [
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
async def test_a_fault_of_a_list_comes_after_what_was_seen(
    down_after: int, seen_before: dict[str, str]
) -> None:
    """Of the assets, of the uploads, or of a question after them: the rest stays unobserved."""
    mux = FakeMux(
        assets=(Page((listed("as0", "up0", "preparing"),), None),),
        uploads=(Page((uploading("up1"),), None),),
    )
    mux.is_down_after = down_after
    claims = [row(f"up{n}", name=f"t{n}") for n in range(5)]
    found: dict[str, str] = {}

    async def gather() -> None:
        async for page in observe(claims, mux, asyncio.Event(), PageBudget(5)):
            found.update(said_of(page))

    with pytest.raises(MuxUnavailable):
        await gather()
    assert found == seen_before


@pytest.mark.parametrize(("pages_before", "asked"), [(1, 1), (2, 2)])
async def test_a_stop_between_the_lists_asks_for_nothing_more(
    pages_before: int, asked: int
) -> None:
    """Neither the uploads after the assets, nor each row after those."""
    mux = FakeMux(
        assets=(Page((listed("as0", "up0"),), None),), uploads=(Page((uploading("up1"),), None),)
    )
    stopping = asyncio.Event()
    claims = [row(f"up{n}", name=f"t{n}") for n in range(5)]
    number = 0
    async for _ in observe(claims, mux, stopping, PageBudget(5)):
        number += 1
        if number == pages_before:
            stopping.set()
    assert (number, len(mux.asked)) == (pages_before, asked)


async def test_an_upload_whose_asset_others_wait_for_leaves_it_to_them() -> None:
    """What the list of uploads says of strangers is given too, so that it can be settled."""
    page = Page((uploading("up9", "asset_created", "as9"), uploading("up1", "cancelled")), None)
    mux = FakeMux(uploads=(page,))
    claims = [row(f"up{n}", name=f"t{n}") for n in range(3)]
    pages = observe(claims, mux, asyncio.Event(), PageBudget(3))
    told = [(s.observation.upload_id, len(s.claims)) async for page in pages for s in page]
    assert told == [("up1", 1), ("up9", 0), ("up0", 1), ("up2", 1)]


async def test_a_row_that_has_its_video_is_asked_for_itself() -> None:
    """Its asset and nothing else, also where a list that is walked for others names it."""
    known = Observation("asset", "ready", "probe", "up9", "as9")
    mux = FakeMux(known, assets=(Page((listed("as9", "up9"), listed("as1", "up1")), None),))
    ready = replace(row("up9", "as9", name="t9"), status="ready", playback_id="p")
    claims = [ready, *(row(f"up{n}", name=f"t{n}") for n in range(3))]
    seen = {}
    async for page in observe(claims, mux, asyncio.Event(), PageBudget(4)):
        seen.update({c.id: s.observation for s in page for c in s.claims})
    assert seen["t9"] == known
    assert mux.asked.count("asset as9") == 1
    assert not any("up9" in question for question in mux.asked)
    assert seen["t1"].source == "sweep"
