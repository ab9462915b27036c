"""What the page asks of the database: one question every few seconds, however many look at it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.errors import SupabaseUnavailable, Unavailable
from worker.supabase.lessons import LessonStore

ASK_WITHIN_SECONDS = 3.0
KEEP_SECONDS = 2.0
SHOW_FOR_SECONDS = 600.0
"""How long an older answer is shown, as what it is, while there is no newer one."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Seen:
    """The last overview that was given, how old it is, and why there is no newer one."""

    told: dict[str, Any] | None
    age_seconds: float
    fault: str | None
    asking_seconds: float


class Overview:
    """Asks for the overview, with a deadline; keeps the answer for all who look at the page."""

    def __init__(self, books: LessonStore, clock: Callable[[], float] = time.monotonic) -> None:
        self._books = books
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = self._told_at = float("-inf")
        self._asking_seconds = 0.0
        self._told: dict[str, Any] | None = None
        self._fault: str | None = None

    async def see(self) -> Seen:
        """Give the overview, at most a few seconds old while the database answers."""
        async with self._asking:
            if self._clock() - self._asked_at > KEEP_SECONDS:
                await self._ask()
        age = self._clock() - self._told_at
        told = self._told if age < SHOW_FOR_SECONDS else None
        return Seen(told, age, self._fault, self._asking_seconds)

    def forget(self) -> None:
        """Ask anew next time: something was just changed."""
        self._asked_at = float("-inf")

    async def _ask(self) -> None:
        began = self._clock()
        try:
            self._told = await within(self._books.overview())
            self._told_at = self._clock()
            self._fault = None
        except Unavailable as fault:
            self._fault = fault.message
        self._asked_at = self._clock()
        self._asking_seconds = self._asked_at - began


async def within(work: Awaitable[T], seconds: float = ASK_WITHIN_SECONDS) -> T:
    """Wait for an answer of the database no longer than somebody does who looks at a page.

    Raises SupabaseUnavailable after that.
    """
    try:
        async with asyncio.timeout(seconds):
            return await work
    except TimeoutError as error:
        raise SupabaseUnavailable(
            "timeout", f"Supabase did not answer within {seconds:g} s."
        ) from error
