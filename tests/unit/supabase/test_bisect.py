from typing import Any

from pytest_mock import MockerFixture

from worker.errors import StatementTimeout, SupabaseUnavailable
from worker.model import Outcome
from worker.supabase.bisect import Halving


class FakeDatabase:
    """Cuts off every call that has one of the slow uploads, and keeps how many items each had."""

    def __init__(self, *slow: str, is_down: bool = False) -> None:
        self.slow = set(slow)
        self.is_down = is_down
        self.cut_off: list[int] = []
        self.done: list[int] = []

    async def call(self, function: str, params: dict[str, Any]) -> list[dict[str, Any]]:
        """Settle, or refuse."""
        if function == "worker_record_refusal":
            if self.is_down:
                raise SupabaseUnavailable("timeout", "x")
            name = params["verdict"]["upload_id"]
            return [{"outcome": "refused", "upload_id": name, "sqlstate": params["code"]}]
        names = [item["upload_id"] for item in params["verdicts"]]
        if self.slow & set(names):
            self.cut_off.append(len(names))
            raise StatementTimeout("57014", "x")
        self.done.append(len(names))
        return [{"outcome": "published", "upload_id": name} for name in names]


def page(count: int) -> list[dict[str, Any]]:
    """Make so many items, about up0, up1 and so on."""
    return [{"upload_id": f"up{n}", "asset_id": f"as{n}"} for n in range(count)]


async def test_a_slow_one_is_looked_for_once_and_settled_alone_from_then_on() -> None:
    """Seven calls are cut off to find it among a hundred, then one each time, after the others."""
    database = FakeDatabase("up0")
    halving = Halving(database.call)
    outcomes = await halving.settle(page(100))
    assert [o.name for o in outcomes].count("published") == 99
    assert Outcome("refused", upload_id="up0", sqlstate="57014") in outcomes
    assert database.cut_off == [100, 50, 25, 12, 6, 3, 1]

    database.cut_off, database.done = [], []
    outcomes = await halving.settle(page(100))
    assert outcomes[-1] == Outcome("refused", upload_id="up0", sqlstate="57014")
    assert (database.done, database.cut_off) == ([99], [1])


async def test_one_that_is_slow_no_more_is_settled_with_the_others_again() -> None:
    """As soon as it has been settled in time."""
    database = FakeDatabase("up1")
    halving = Halving(database.call)
    await halving.settle(page(2))
    database.slow, database.done = set(), []
    await halving.settle(page(2))
    await halving.settle(page(2))
    assert database.done == [1, 1, 2]


async def test_where_nothing_can_be_refused_it_is_told_all_the_same() -> None:
    """The lease of the row is its pause then."""
    halving = Halving(FakeDatabase("up0", is_down=True).call)
    (outcome,) = await halving.settle(page(1))
    assert (outcome.name, outcome.upload_id, outcome.sqlstate) == ("refused", "up0", "57014")


async def test_what_is_remembered_has_its_limit(mocker: MockerFixture) -> None:
    """Beyond it, all are forgotten, and looked for anew."""
    mocker.patch("worker.supabase.bisect.MOST_REMEMBERED", 2)
    database = FakeDatabase("up0", "up1", "up2")
    halving = Halving(database.call)
    await halving.settle(page(3))
    database.cut_off = []
    await halving.settle(page(3))
    assert database.cut_off == [2, 1, 1, 1]
