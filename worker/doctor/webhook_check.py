"""Check that this machine's worker accepts a signed event and rejects a forged one."""

import http.client
import json
import time
from collections.abc import Sequence

from worker.doctor.checks import Check
from worker.mux.thread import in_daemon_thread
from worker.settings import Settings
from worker.web.webhooks.signature import HEADER, header_of

PATH = "/webhooks/mux"
TIMEOUT_SECONDS = 5.0
EVENT = {"type": "doctor.test", "id": "doctor", "data": {}}
"""An event of an unknown type, which changes nothing."""

NAME = "webhook"


async def check_webhook(settings: Settings) -> Check:
    """Send the events, where the settings say that a worker accepts them."""
    secrets = [secret.get_secret_value() for secret in settings.mux_webhook_secret]
    if not secrets:
        detail = "MUX_WEBHOOK_SECRET is not set: lessons are found by scans only"
        return Check(NAME, "skipped", detail)
    if settings.port is None:
        return Check(NAME, "skipped", "PORT is not set, so there is no route for webhooks")
    host, port = settings.loopback_host, settings.port
    statuses = await in_daemon_thread(lambda: _statuses(host, port, secrets))
    return judge(f"{host}:{port}", statuses)


def judge(where: str, statuses: Sequence[int | None]) -> Check:
    """Return the check for the statuses: one for each secret, and last the forged event's."""
    *signed, forged = statuses
    if forged is None:
        detail = f"no worker answers at {where}: start it, then run the doctor again"
        return Check(NAME, "skipped", detail)
    if forged == 404:
        advice = "Start the worker with the same settings as the doctor."
        return Check(NAME, "failed", f"the server at {where} has no {PATH}", advice)
    if forged != 401:
        detail = f"the server at {where} answers a forged event with {forged}, not 401"
        return Check(NAME, "failed", detail, "Check that this worker listens at that address.")
    if any(status != 200 for status in signed):
        received = ", ".join(map(str, signed))
        detail = f"the worker at {where} answers signed events with {received}"
        advice = "Start the worker with the same MUX_WEBHOOK_SECRET as the doctor."
        return Check(NAME, "failed", detail, advice)
    return Check(NAME, "ok", f"{where} accepts signed events and rejects forged ones")


def _statuses(host: str, port: int, secrets: Sequence[str]) -> list[int | None]:
    body = json.dumps(EVENT).encode()
    headers = [header_of(secret, time.time(), body) for secret in secrets]
    forged = header_of(f"not {secrets[0]}", time.time(), body)
    return [_post(host, port, body, header) for header in [*headers, forged]]


def _post(host: str, port: int, body: bytes, header: str) -> int | None:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", PATH, body, {HEADER: header})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
