"""Races, and whether what they came to is what the same requests would have come to in turn."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from tests.sql import race_world
from tests.sql.race_cast import BEFORE, LESSON, LESSONS
from tests.sql.racing import Action, Scene, Stage
from tests.sql.service import Json

# Writes over what the worker wrote, raced or not.
FREE_HANDS = {"write ids"}


@dataclass(frozen=True)
class Run:
    """What requests came to: the world they left, what each was told, what is broken in it."""

    world: Json
    told: tuple[Any, ...]
    broken: list[str]


class Races:
    """Runs requests one after the other and against each other, from the same beginnings."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._known: dict[tuple[str, ...], Run] = {}

    def in_turn(self, state: str, *actions: Action) -> Run:
        """Run requests one after the other: the truth that races are compared to."""
        key = (state, *map(str, actions))
        if key not in self._known:
            scene = self._begin(state)
            told = []
            for action in actions:
                assert not self._stage.one.starts(action, scene, and_commits=True)
                told.append(self._stage.one.result())
            self._known[key] = self._run(*told)
        return self._known[key]

    def find_fault(self, state: str, first: Action, second: Action) -> str | None:
        """Race two requests; say what is wrong with it.

        The first is done and not committed while the second begins. Where the second waited for
        it, or passed over what it held, they race once more and the first is undone.
        """
        run, waited = self._race(state, first, second, undone=False)
        if waited and second.never_waits:
            return "the worker waited"
        fault = self._compare(run, self._after_both(state, first, second, run), first, second)
        if fault is None and (waited or passed_over(second, run)):
            run, _ = self._race(state, first, second, undone=True)
            run = replace(run, told=run.told[1:])
            fault = self._compare(run, self._after_second(state, second, run), first, second)
        return fault

    def is_held(self, state: str, held: str, first: Action) -> bool:
        """Whether a request stops where somebody is in its way."""
        scene = self._begin(state)
        self._stage.holder.execute(held.encode())
        waits = self._stage.one.starts(first, scene, and_commits=True)
        self._stage.holder.rollback()
        self._stage.one.result()
        return waits

    def race_when_held(
        self, state: str, held: str, first: Action, second: Action
    ) -> tuple[Run, bool]:
        """Race two requests, the first of which is held up in the middle; whether both waited.

        Each commits by itself, so which goes first once it is let go is for Postgres to choose.
        """
        scene = self._begin(state)
        holder, one, other = self._stage.holder, self._stage.one, self._stage.other
        holder.execute(held.encode())
        assert one.starts(first, scene, and_commits=True)
        waited = other.starts(second, scene, and_commits=True)
        holder.rollback()
        return self._run(one.result(), other.result()), waited

    def find_fault_when_held(
        self, state: str, held: str, first: Action, second: Action
    ) -> str | None:
        """Race two requests, the first of which is held up in the middle; say what is wrong."""
        run, waited = self.race_when_held(state, held, first, second)
        if waited and second.never_waits:
            return "the worker waited"
        return self._compare(run, self._after_both(state, first, second, run), first, second)

    def _begin(self, state: str) -> Scene:
        return self._stage.sets([LESSONS, *BEFORE[state]], LESSON)

    def _race(self, state: str, first: Action, second: Action, *, undone: bool) -> tuple[Run, bool]:
        scene = self._begin(state)
        one, other = self._stage.one, self._stage.other
        assert not one.starts(first, scene)
        waited = other.starts(second, scene)
        if undone:
            one.connection.rollback()
        else:
            one.connection.commit()
        told = one.result(), other.result()
        other.connection.commit()
        return self._run(*told), waited

    def _after_both(self, state: str, first: Action, second: Action, run: Run) -> Iterator[Run]:
        if passed_over(second, run):
            yield self.in_turn(state, first)
        yield self.in_turn(state, first, second)
        turned = self.in_turn(state, second, first)
        yield replace(turned, told=turned.told[::-1])

    def _after_second(self, state: str, second: Action, run: Run) -> Iterator[Run]:
        if passed_over(second, run):
            yield self.in_turn(state)
        yield self.in_turn(state, second)

    def _compare(self, run: Run, allowed: Iterator[Run], *actions: Action) -> str | None:
        """Say how a run differs from everything it may be; nothing if it does not.

        Where the worker passed over one lesson of two, each must be as it may be.
        """
        if run.broken and not FREE_HANDS & {*map(str, actions)}:
            return f"broken: {run.broken}"
        in_parts = passed_over(actions[-1], run)
        seen: list[Run] = []
        for turned in allowed:
            seen.append(turned)
            if in_parts and all(is_among(seen, lesson, run) for lesson in run.world):
                return None
            if not in_parts and (run.world, run.told) == (turned.world, turned.told):
                return None
        return f"{run}, in turn {seen}"

    def _run(self, *told: Any) -> Run:
        watcher = self._stage.watcher
        return Run(race_world.read(watcher), told, race_world.find_broken(watcher))


def passed_over(action: Action, run: Run) -> bool:
    """Whether a worker's request, the last told, left out what somebody held."""
    told = run.told[-1]
    return action.never_waits and (told == 0 or "busy" in str(told).split())


def is_among(runs: list[Run], lesson: str, run: Run) -> bool:
    """Whether a lesson is as one of some runs left it, except that it may be due again soon."""
    part = run.world[lesson]
    for wanted in (other.world[lesson] for other in runs if lesson in other.world):
        if part == wanted:
            return True
        row = part["row"]
        if row and wanted["row"] and row["due"] in {"now", "soon"}:
            row = {**row, "due": wanted["row"]["due"]}
        if {**part, "row": row} == wanted:
            return True
    return False
