import base64
from collections.abc import Iterator

import pytest

from tests.worker_process import WorkerProcess

OF_MUX = ("MUX_TOKEN_ID", "MUX_TOKEN_SECRET")


@pytest.fixture(autouse=True)
def no_run_prints_a_secret(request: pytest.FixtureRequest) -> Iterator[None]:
    """Assert that the output of the test's worker contains no key, plain or encoded."""
    if "worker" not in request.fixturenames:
        yield
        return
    worker: WorkerProcess = request.getfixturevalue("worker")
    yield
    assert secrets_in(worker.output, worker.environment) == []


def secrets_in(output: str, environment: dict[str, str]) -> list[str]:
    """Return the names of the settings whose secret is in the output."""
    token = f"{environment['MUX_TOKEN_ID']}:{environment['MUX_TOKEN_SECRET']}"
    settings = ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_PUBLISHABLE_KEY", *OF_MUX)
    secrets = {str(name): environment[name] for name in settings if name in environment}
    secrets["the Authorization header"] = base64.b64encode(token.encode()).decode()
    return [name for name, secret in secrets.items() if secret in output]
