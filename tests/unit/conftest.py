import io

import pytest

from worker.telemetry import logs


@pytest.fixture
def out() -> io.StringIO:
    """Send the log to a buffer."""
    stream = io.StringIO()
    logs.configure(form="json", stream=stream)
    return stream
