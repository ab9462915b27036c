import asyncio
from collections.abc import AsyncGenerator

import pytest

from tests.unit.backfill.listed_mux import ListedMux, listed, pages
from worker.backfill.search import Found, Search
from worker.errors import MuxUnavailable
from worker.lesson import Adoption
from worker.model import UPLOAD_UNKNOWN, Observation, Outcome, Page


def names(lesson_id: str, upload_id: str | None = None, asset_id: str | None = None) -> Adoption:
    """Return the planned adoption of a lesson that names an upload, or an asset."""
    upload = upload_id or UPLOAD_UNKNOWN
    return Adoption(Outcome("adopted", lesson_id=lesson_id, upload_id=upload, asset_id=asset_id))


def many(count: int, first: int = 0) -> list[Adoption]:
    """Return lessons l0, l1 … that name uploads, numbered from `first`."""
    return [names(f"l{n}", f"u{first + n}") for n in range(count)]


async def found_in(batches: AsyncGenerator[list[Found]]) -> dict[str, Found]:
    """Return what is found by lesson; each lesson is found once."""
    found: dict[str, Found] = {}
    async for batch in batches:
        for one in batch:
            assert one.adoption.lesson_id not in found
            found[one.adoption.lesson_id] = one
    return found


def search(mux: ListedMux, *adoptions: Adoption) -> Search:
    """Return a search that reads the list only as far as it pays."""
    return Search(adoptions, mux, asyncio.Event())


async def test_a_thousand_lessons_cost_ten_requests() -> None:
    """Whether a lesson names the upload or the asset; none of them is left."""
    mux = ListedMux(*(listed(n) for n in range(1000)))
    by_upload = [names(f"l{n}", f"u{n}") for n in range(0, 1000, 2)]
    by_asset = [names(f"l{n}", None, f"a{n}") for n in range(1, 1000, 2)]
    searching = search(mux, *by_upload, *by_asset)
    found = await found_in(searching.pages())
    assert {id_: one.observation for id_, one in found.items()} == {
        f"l{n}": listed(n) for n in range(1000)
    }
    assert (mux.sent, searching.left) == (pages(10), {})


async def test_the_list_is_read_no_further_than_a_page_for_each_lesson() -> None:
    """Ten lessons whose videos are far down cost ten pages, and are left to be probed."""
    mux = ListedMux(*(listed(n) for n in range(50_000)))
    searching = search(mux, *many(10, first=49_000))
    assert await found_in(searching.pages()) == {}
    assert mux.sent == pages(10)
    assert list(searching.left) == [f"l{n}" for n in range(10)]


@pytest.mark.parametrize(("lessons", "requests"), [(0, 0), (1, 0), (2, 0), (3, 1)])
async def test_a_few_lessons_are_not_worth_a_page(lessons: int, requests: int) -> None:
    """To probe one or two costs no more."""
    mux = ListedMux(*(listed(n) for n in range(50)))
    searching = search(mux, *many(lessons))
    found = await found_in(searching.pages())
    assert (len(found), mux.requests) == (lessons * requests, requests)


async def test_the_last_two_lessons_are_not_searched_for() -> None:
    """Their videos are on a later page, which is not read."""
    mux = ListedMux(*(listed(n) for n in range(1000)))
    searching = search(mux, *many(3), names("l8", "u800"), names("l9", "u900"))
    assert set(await found_in(searching.pages())) == {"l0", "l1", "l2"}
    assert (mux.sent, set(searching.left)) == (pages(1), {"l8", "l9"})


async def test_the_id_of_a_lesson_may_be_any_text() -> None:
    """Also one that looks like another lesson's with something behind it."""
    mux = ListedMux(*(listed(n) for n in range(100)))
    lessons = [names(f"l{'/0/u' * n}", f"u{n}") for n in range(20)]
    found = await found_in(search(mux, *lessons).pages())
    assert {id_: one.observation for id_, one in found.items()} == {
        lesson.lesson_id: listed(n) for n, lesson in enumerate(lessons)
    }


async def test_lessons_that_name_the_same_upload_are_found_together() -> None:
    """Whose video it is, the database decides."""
    mux = ListedMux(*(listed(n) for n in range(100)))
    found = await found_in(search(mux, *(names(f"l{n}", "u7") for n in range(3))).pages())
    assert {id_: one.observation for id_, one in found.items()} == {
        f"l{n}": listed(7) for n in range(3)
    }


async def test_what_is_found_says_what_the_named_id_is() -> None:
    """An asset's id may stand where an upload's belongs; it is sent as the lesson names it."""
    mux = ListedMux(*(listed(n) for n in range(100)))
    ask = Adoption(Outcome("ask", lesson_id="l3", asset_id="a3"))
    found = await found_in(search(mux, names("l1", "u1"), names("l2", "a2"), ask).pages())
    assert [found[id_].item() for id_ in ("l1", "l2", "l3")] == [
        {"lesson_id": "l1", "id": "u1", "upload_id": "u1", "asset_id": "a1"},
        {"lesson_id": "l2", "id": "a2", "upload_id": "u2", "asset_id": "a2"},
        {"lesson_id": "l3", "id": "a3", "upload_id": "u3", "asset_id": "a3"},
    ]


async def test_a_plan_probes_what_no_list_has() -> None:
    """A lesson that names nothing costs no request, and an upload is requested at once."""
    nothing = Adoption(Outcome("left_alone", lesson_id="l0", reason="names_nothing"))
    mux = ListedMux(listed(1))
    searching = search(mux, nothing, names("l1", "u1"), names("l2", "gone"))
    found = await found_in(searching.probed())
    assert {id_: one.observation.status for id_, one in found.items()} == {
        "l1": "ready",
        "l2": "missing",
    }
    assert sorted(mux.sent) == ["asset a1", "asset gone", "upload gone", "upload u1"]
    assert list(searching.left) == ["l0"]


async def test_an_id_about_which_mux_does_not_answer_holds_up_no_other() -> None:
    """It is not taken for one that Mux does not know."""
    mux = ListedMux(listed(2))
    mux.faults = {"u1"}
    ask = Adoption(Outcome("ask", lesson_id="l1", upload_id="u1"))
    found = await found_in(search(mux, ask, names("l2", "u2")).probed())
    assert {id_: one.observation.status for id_, one in found.items()} == {
        "l1": "fault",
        "l2": "ready",
    }
    assert found["l1"].item() == {"lesson_id": "l1"}


async def test_an_outage_ends_the_search() -> None:
    """It is raised at the first request."""
    mux = ListedMux()
    mux.is_down = True
    for batches in (search(mux, *many(3)).pages(), search(mux, *many(3)).probed()):
        with pytest.raises(MuxUnavailable):
            await found_in(batches)


async def test_a_list_that_leads_back_is_an_error() -> None:
    """Read to its end, it would never end."""

    class Circle(ListedMux):
        async def assets(self, cursor: str | None) -> Page:
            page = await super().assets(cursor)
            return page if page.next else Page(page.observations, "100")

    mux = Circle(*(listed(n) for n in range(300)))
    searching = Search(many(1, first=900), mux, asyncio.Event(), trust_references=True)
    with pytest.raises(MuxUnavailable):
        await found_in(searching.pages())
    assert mux.sent == pages(3)


async def test_a_search_that_is_stopped_sends_no_more() -> None:
    """No further page, and no asset is given to a lesson by its reference."""
    stopping = asyncio.Event()
    mux = ListedMux(*(listed(n, lesson_references=("l9",)) for n in range(1)))
    mux.listed += [listed(n) for n in range(1, 500)]
    searching = Search(many(10, first=400), mux, stopping, trust_references=True)
    found = []
    async for batch in searching.pages():
        found += batch
        stopping.set()
    assert found == []
    assert mux.requests <= 2  # the next page may be under way
    assert await found_in(searching.probed()) == {}
    assert mux.requests <= 2


async def test_a_search_that_was_stopped_before_sends_nothing() -> None:
    """Neither for the list nor for a single id."""
    stopping, mux = asyncio.Event(), ListedMux(listed(1))
    stopping.set()
    searching = Search(many(5), mux, stopping)
    assert await found_in(searching.pages()) == await found_in(searching.probed()) == {}
    assert mux.sent == []


async def test_an_observation_keeps_its_source() -> None:
    """A list's is a sweep's, and that of a single id is a probe's."""
    mux = ListedMux(*(listed(n) for n in range(50)))
    (swept, *_) = (await found_in(search(mux, *many(3)).pages())).values()
    (probed,) = (await found_in(search(mux, *many(1)).probed())).values()
    seen: list[Observation] = [swept.observation, probed.observation]
    assert [observation.source for observation in seen] == ["sweep", "probe"]
