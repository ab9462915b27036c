"""Assets that name a lesson as their `passthrough` or `meta.external_id`."""

import asyncio
from typing import Any

import pytest
from pytest_mock import MockerFixture

from tests.unit.backfill.listed_mux import ListedMux, listed, pages, waiting
from tests.unit.backfill.test_search import found_in, names
from worker.backfill.search import Found, Search
from worker.lesson import Adoption
from worker.model import Observation, Outcome


def nothing(lesson_id: str) -> Adoption:
    """Return the planned adoption of a lesson that names nothing."""
    return Adoption(Outcome("left_alone", lesson_id=lesson_id, reason="names_nothing"))


def with_references(count: int, references: dict[int, tuple[str, ...]]) -> list[Observation]:
    """Return a list of assets of which some name lessons."""
    return [listed(n, lesson_references=references.get(n, ())) for n in range(count)]


async def searched(mux: ListedMux, *adoptions: Adoption) -> tuple[dict[str, Found], set[str]]:
    """Return what is found, and which lessons are left."""
    searching = Search(adoptions, mux, asyncio.Event(), trust_references=True)
    return await found_in(searching.pages()), set(searching.left)


async def test_only_an_asset_that_alone_names_a_lesson_is_its_video() -> None:
    """The list is read to its end to know it. A lesson's id is compared as it is."""
    mux = ListedMux(*with_references(300, {250: ("l1",), 260: ("l2",), 270: ("l2",), 280: ("L3",)}))
    found, left = await searched(mux, *map(nothing, ("l1", "l2", "l3")))
    assert found == {"l1": Found(nothing("l1"), mux.listed[250], is_trusted=True)}
    assert left == {"l2", "l3"}
    assert mux.sent == pages(3)


async def test_of_the_assets_that_name_a_lesson_two_are_kept(mocker: MockerFixture) -> None:
    """A platform may write the number of a user there, which is also that of a lesson."""
    mux = ListedMux(*with_references(300, dict.fromkeys(range(300), ("l1",))))
    searching = Search([nothing("l1")], mux, asyncio.Event(), trust_references=True)
    assert await found_in(searching.pages()) == {}
    assert {id_: len(seen) for id_, seen in searching._referring.items()} == {"l1": 2}


async def test_the_item_says_that_the_asset_is_trusted() -> None:
    """The lesson names nothing, so no id is sent as the one that it names."""
    mux = ListedMux(*with_references(1, {0: ("l1",)}))
    found, _ = await searched(mux, nothing("l1"))
    assert found["l1"].item() == {
        "lesson_id": "l1",
        "id": None,
        "upload_id": "u0",
        "asset_id": "a0",
        "is_trusted": True,
    }


async def test_an_asset_that_names_a_lesson_twice_is_one_asset() -> None:
    """As its passthrough and as its external id."""
    mux = ListedMux(*with_references(1, {0: ("l1", "l1")}))
    found, _ = await searched(mux, nothing("l1"))
    assert found["l1"].observation == mux.listed[0]


async def test_without_trust_no_reference_counts() -> None:
    """The lesson is left, and nothing is requested for it."""
    mux = ListedMux(*with_references(10, {0: ("l1",)}))
    searching = Search([nothing("l1")], mux, asyncio.Event())
    assert await found_in(searching.pages()) == {}
    assert (set(searching.left), mux.sent) == ({"l1"}, [])


@pytest.mark.parametrize(
    ("named", "given"),
    [("u50", {"adopted": "a50"}), ("new", {}), ("fault", {}), ("gone", {"trusted": "a7"})],
    ids=["its video is listed", "its file is awaited", "Mux does not answer", "Mux does not know"],
)
async def test_an_id_that_mux_knows_comes_before_a_reference(
    named: str, given: dict[str, Any]
) -> None:
    """A lesson that names an upload gets no other video by a reference, unless the upload is gone.

    What is left is adopted, and the scan decides.
    """
    mux = ListedMux(*with_references(60, {7: ("l1",)}), uploads=(waiting("new"),))
    mux.faults = {"fault"}
    found, left = await searched(mux, names("l1", named))
    assert {
        "trusted" if one.is_trusted else "adopted": one.observation.asset_id
        for one in found.values()
    } == given
    assert left == (set() if given else {"l1"})


async def test_a_lesson_that_is_found_is_given_no_other_asset() -> None:
    """Also where the asset that names it comes on a later page, or on the same one."""
    for number in (3, 150):
        mux = ListedMux(*with_references(200, {number: ("l1",)}))
        found, _ = await searched(mux, names("l1", "u5"))
        assert found == {"l1": Found(names("l1", "u5"), mux.listed[5])}


async def test_a_lesson_whose_own_video_is_restored_is_given_no_other() -> None:
    """The asset that names it may be older."""
    restored = Adoption(Outcome("restored", lesson_id="l1"))
    mux = ListedMux(*with_references(10, {7: ("l1",)}))
    assert await searched(mux, restored) == ({}, {"l1"})
    assert mux.sent == pages(1)
