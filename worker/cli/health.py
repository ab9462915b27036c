"""Ask the worker of this machine whether it is well, for platforms without HTTP checks."""

import http.client
import json
import time

from worker.settings import Settings
from worker.telemetry import liveness

ANSWER_WITHIN_SECONDS = 5.0


def fault_of(settings: Settings) -> str | None:
    """Tell what is wrong with the worker, if something is: over HTTP, or without PORT by its file.

    The file is in the temporary directory, of this user and project, and says until when the worker
    is well without another sign of life.
    """
    if settings.port is None:
        file = liveness.file_of(settings)
        return liveness.NO_DIRECTORY if file is None else liveness.fault_in(file, time.monotonic())
    host = settings.loopback_host
    connection = http.client.HTTPConnection(host, settings.port, timeout=ANSWER_WITHIN_SECONDS)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        body = response.read(65536)
    except (OSError, http.client.HTTPException) as error:
        return f"nothing answers at {host}:{settings.port}: {type(error).__name__}"
    finally:
        connection.close()
    return None if response.status == 200 else _reason(response.status, body)


def _reason(status: int, body: bytes) -> str:
    try:
        return str(json.loads(body)["reason"])
    except (ValueError, KeyError, TypeError):
        return f"/healthz answered with {status}"
