"""Make sure that the Mux token belongs to the environment that our ids are from."""

from typing import Protocol

from worker.errors import WorkerError


class KnowsEnvironment(Protocol):
    """What is asked of Mux."""

    async def environment(self) -> str:
        """Give the id of the token's environment."""
        ...


class KnowsHome(Protocol):
    """What is asked of the database."""

    async def recorded_environment(self) -> str | None:
        """Give the environment in which our ids were last found."""
        ...


async def environment_of_our_ids(mux: KnowsEnvironment, books: KnowsHome) -> str:
    """Give the token's environment.

    Raises WorkerError where it is another than that of our ids: each would seem unknown there.
    """
    environment, home = await mux.environment(), await books.recorded_environment()
    if home not in (None, environment):
        raise WorkerError(
            f"The Mux token belongs to environment {environment}, and our ids were last found in "
            f"{home}: every lesson would seem lost. Set MUX_TOKEN_ID and MUX_TOKEN_SECRET of the "
            "environment that the app uploads to."
        )
    return environment
