import asyncio
from dataclasses import replace

import pytest

from worker.backfill.search import Found, Search
from worker.errors import MuxUnavailable
from worker.lesson import Lesson, Target
from worker.model import Observation, OnSent, Page, PlaybackId, ignore

LESSON = Lesson("", "anna", "draft", True, False, None, None, None)


class ListedMux:
    """A Mux with a list of assets and one of uploads, a hundred a page; counts what it is asked."""

    def __init__(self, assets: list[Observation], uploads: list[Observation] | None = None) -> None:
        self.listed = assets
        self.listed_uploads = uploads or []
        self.asked: list[str] = []
        self.requests = 0

    async def environment(self) -> str:
        """Return the token's environment."""
        return "env1"

    async def upload(self, upload_id: str, sent: OnSent = ignore) -> Observation:
        """Ask for an upload."""
        self.asked.append(f"upload {upload_id}")
        known = [u for u in self.listed_uploads if u.upload_id == upload_id]
        return known[0] if known else Observation("upload", "missing", "probe", upload_id=upload_id)

    async def asset(self, asset_id: str, sent: OnSent = ignore) -> Observation:
        """Ask for an asset."""
        self.asked.append(f"asset {asset_id}")
        known = [a for a in self.listed if a.asset_id == asset_id]
        return known[0] if known else Observation("asset", "missing", "probe", asset_id=asset_id)

    async def control(self) -> None:
        """Ask the control question."""
        self.asked.append("control")

    async def asset_of(self, upload_id: str, sent: OnSent = ignore) -> Observation | None:
        """Ask for the asset of an upload."""
        self.asked.append(f"asset of {upload_id}")
        return next((a for a in self.listed if a.upload_id == upload_id), None)

    async def assets(self, at: str | None) -> Page:
        """Ask for a page of assets."""
        return self._page("assets", self.listed, at)

    async def uploads(self, at: str | None) -> Page:
        """Ask for a page of uploads."""
        return self._page("uploads", self.listed_uploads, at)

    def _page(self, what: str, listed: list[Observation], at: str | None) -> Page:
        self.asked.append(f"{what} {at or 0}")
        start = int(at or 0)
        end = start + 100
        return Page(tuple(listed[start:end]), str(end) if end < len(listed) else None)


def asset(number: int, **more: object) -> Observation:
    """Give a ready asset of upload `u<number>`."""
    ids = (PlaybackId(f"p{number}", "public"),)
    seen = Observation("asset", "ready", "sweep", f"u{number}", f"a{number}", ids)
    return replace(seen, **more)  # type: ignore[arg-type]  # by name


async def search(mux: ListedMux, *lessons: Lesson, to_the_end: bool = False) -> dict[str, Found]:
    """Search to the end; each lesson must be given once."""
    found: dict[str, Found] = {}
    async for page in Search(lessons, mux, asyncio.Event(), to_the_end=to_the_end).pages():
        for one in page:
            assert one.lesson.id not in found
            found[one.lesson.id] = one
    assert set(found) == {lesson.id for lesson in lessons}
    return found


def holding(name: str, *ids: str) -> Lesson:
    """Return a lesson for which Mux is asked about these ids, an asset's where they begin so."""
    targets = [Target("asset" if id_.startswith("a") else "either", id_, "") for id_ in ids]
    return replace(LESSON, id=name, targets=tuple(targets))


async def test_many_are_found_by_the_page() -> None:
    """A thousand lessons cost ten requests, whether they hold the upload's or the asset's id."""
    mux = ListedMux([asset(number) for number in range(1000)])
    lessons = [holding(f"l{n}", f"u{n}" if n % 2 else f"a{n}") for n in range(1000)]
    found = await search(mux, *lessons)
    assert {one.observation and one.observation.asset_id for one in found.values()} == {
        f"a{n}" for n in range(1000)
    }
    assert mux.asked == [f"assets {page * 100}" for page in range(10)]


async def test_a_long_list_is_walked_no_further_than_asking_would_cost() -> None:
    """Ten lessons whose videos are far down cost ten pages and two questions each, at most."""
    mux = ListedMux([asset(number) for number in range(50_000)])
    found = await search(mux, *(holding(f"l{n}", f"u{49_000 + n}") for n in range(10)))
    assert all(one.observation and one.observation.found for one in found.values())
    assert len(mux.asked) <= 30


async def test_a_few_are_asked_for_one_by_one() -> None:
    """Two lessons are not worth a page."""
    mux = ListedMux([asset(number) for number in range(1000)])
    found = await search(mux, holding("l", "u7"))
    assert found["l"].observation == asset(7)
    assert mux.asked == ["asset of u7"]


async def test_the_id_of_a_lesson_may_be_any_text() -> None:
    """Also one that looks like another lesson's, with what is asked for; by page and one by one."""
    for count in (2, 20):
        mux = ListedMux([asset(number) for number in range(100)])
        lessons = [holding(f"l{'/0/u' * n}", "gone", f"u{n}") for n in range(count)]
        found = await search(mux, *lessons)
        assert {one.lesson.id: one.observation for one in found.values()} == {
            lesson.id: asset(number) for number, lesson in enumerate(lessons)
        }


async def test_after_temp_playback_both_are_tried() -> None:
    """First as an upload's id, then as an asset's."""
    mux = ListedMux([asset(1)])
    lesson = replace(LESSON, id="l", targets=(Target("either", "a1", "temporary id"),))
    found = (await search(mux, lesson))["l"]
    assert found.observation == asset(1)
    assert mux.asked == ["asset of a1", "upload a1", "asset a1"]


async def test_an_id_about_which_mux_does_not_answer_is_not_stood_in_for() -> None:
    """The lesson's older video is not taken for the newer one; a lesson beside it is found."""

    class FailsOnOne(ListedMux):
        async def asset_of(self, upload_id: str, sent: OnSent = ignore) -> Observation | None:
            if upload_id == "u1":
                raise MuxUnavailable("http_500", "Mux answered with 500.")
            return await super().asset_of(upload_id, sent)

    lesson = holding("l", "u1", "u2")
    mux = FailsOnOne([asset(2), asset(3)])
    found = await search(mux, lesson, holding("l3", "u3"))
    seen = found["l"].observation
    assert seen is not None
    assert (seen.status, seen.upload_id) == ("fault", "u1")
    assert found["l3"].observation == asset(3)


async def test_where_mux_does_not_know_the_first_id_the_second_counts() -> None:
    """Each is asked for once as an upload's and once as an asset's; the first is missing."""
    mux = ListedMux([asset(1)])
    found = (await search(mux, holding("l", "new", "u1")))["l"]
    assert (found.observation, found.missing) == (asset(1), ("new",))
    assert mux.asked == ["asset of new", "upload new", "asset new", "asset of u1"]


async def test_of_a_lesson_whose_ids_mux_does_not_know_nothing_is_found() -> None:
    """What Mux said last is given, with the id that it was asked for."""
    mux = ListedMux([])
    found = (await search(mux, holding("l", "new", "agone")))["l"]
    assert found.observation == Observation("asset", "missing", "probe", asset_id="agone")
    assert (found.target, found.missing) == (Target("asset", "agone", ""), ())
    assert mux.asked == ["asset of new", "upload new", "asset new", "asset agone"]


async def test_the_id_that_counts_goes_before_one_that_turns_up_first() -> None:
    """The list shows the second id's asset on page one, and the first's on page two."""
    mux = ListedMux([asset(number) for number in range(200)])
    both = holding("l", "u150", "u3")
    others = [holding(f"o{n}", f"u{n + 160}") for n in range(5)]
    assert (await search(mux, both, *others))["l"].observation == asset(150)


async def test_an_upload_without_an_asset_is_found_in_the_list_of_uploads() -> None:
    """What timed out or waits is told by the page too."""
    states = ["waiting", "timed_out", "cancelled", "errored"] * 5
    uploads = [
        Observation("upload", status, "sweep", upload_id=f"u{n}") for n, status in enumerate(states)
    ]
    mux = ListedMux([], uploads)
    found = await search(mux, *(holding(f"l{n}", f"u{n}") for n in range(20)))
    result = [found[f"l{n}"].observation for n in range(20)]
    assert result == uploads
    assert mux.asked == ["assets 0", "uploads 0"]


async def test_who_claims_a_lesson_is_known_once_the_list_was_read_to_its_end() -> None:
    """Two claims are enough to know that it is not one. A lesson's id is compared as it is."""
    claims = {250: ("l1", "l1"), 260: ("l2",), 270: ("l2",), 280: ("L1",)}
    mux = ListedMux([asset(n, lesson_references=claims.get(n, ())) for n in range(300)])
    lessons = [replace(LESSON, id=name) for name in ("l1", "l2", "l3")]
    found = await search(mux, *lessons, to_the_end=True)
    assert [one.asset_id for one in found["l1"].claimed_by] == ["a250"]
    assert len(found["l2"].claimed_by) == 2
    assert found["l3"].claimed_by == ()
    assert all(one.is_whole and one.observation is None for one in found.values())
    assert len(mux.asked) == 3


async def test_a_list_that_leads_back_is_a_fault() -> None:
    """Read to its end, it would be read for ever."""

    class Circle(ListedMux):
        async def assets(self, at: str | None) -> Page:
            page = await super().assets(at)
            return page if page.next else replace(page, next="100")

    mux = Circle([asset(n) for n in range(300)])
    with pytest.raises(MuxUnavailable):
        await search(mux, replace(LESSON, id="l1"), to_the_end=True)
    assert mux.asked == ["assets 0", "assets 100", "assets 200"]
