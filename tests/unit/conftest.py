import io

import pytest

from worker.telemetry import logs


@pytest.fixture
def out() -> io.StringIO:
    """Return the buffer that the log is written to."""
    stream = io.StringIO()
    logs.configure(form="json", stream=stream)
    return stream
