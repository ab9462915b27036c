"""Pause, but not through a shutdown."""

import asyncio
from contextlib import suppress


async def pause(seconds: float, stopping: asyncio.Event) -> None:
    """Wait so long, or until a stop is asked for."""
    with suppress(TimeoutError):
        await asyncio.wait_for(stopping.wait(), seconds)
