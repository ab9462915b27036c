import pytest

from tests.unit.scan.test_observe import FakeMux
from worker.errors import WorkerError
from worker.scan.environment import check_environment, environment_matches


class Recorded:
    """A store of the recorded environment."""

    def __init__(self, environment: str | None) -> None:
        self._environment = environment

    async def recorded_environment(self) -> str | None:
        """Return it."""
        return self._environment


@pytest.mark.parametrize("recorded", [None, "env1"])
async def test_the_recorded_environment_is_the_tokens_or_none_yet(recorded: str | None) -> None:
    """Before the first id is found, any is right."""
    assert await environment_matches(FakeMux(), Recorded(recorded))
    assert await check_environment(FakeMux(), Recorded(recorded)) == "env1"


async def test_a_token_of_another_environment_says_what_to_set() -> None:
    """With both environments."""
    assert not await environment_matches(FakeMux(), Recorded("env2"))
    with pytest.raises(WorkerError) as raised:
        await check_environment(FakeMux(), Recorded("env2"))
    assert str(raised.value) == (
        "The Mux token belongs to environment env1, but the lessons' videos are in env2. "
        "Set MUX_TOKEN_ID and MUX_TOKEN_SECRET to a token of the environment that the app uploads "
        "to."
    )
