"""Compare the environment of the Mux token with the recorded one, in which our ids were found."""

from typing import Protocol

from worker.errors import WorkerError
from worker.scan.mux_reader import MuxReader


class EnvironmentStore(Protocol):
    """The store of the recorded environment."""

    async def recorded_environment(self) -> str | None:
        """Return the environment in which our ids were last found, or None before the first."""
        ...


async def environment_matches(mux: MuxReader, store: EnvironmentStore) -> bool:
    """Whether the token belongs to the recorded environment, or none is recorded yet."""
    return await store.recorded_environment() in (None, await mux.environment())


async def check_environment(mux: MuxReader, store: EnvironmentStore) -> str:
    """Return the token's environment.

    Raises WorkerError if another one is recorded: then Mux knows none of our ids.
    """
    environment, recorded = await mux.environment(), await store.recorded_environment()
    if recorded not in (None, environment):
        raise WorkerError(
            f"The Mux token belongs to environment {environment}, but the lessons' videos are in "
            f"{recorded}. Set MUX_TOKEN_ID and MUX_TOKEN_SECRET to a token of the environment that "
            "the app uploads to."
        )
    return environment
