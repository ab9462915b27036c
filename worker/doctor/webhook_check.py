"""Send this machine's worker a signed event and a forged one, and see that it knows them apart."""

import http.client
import json
import time
from collections.abc import Sequence

from worker.doctor.checks import Check
from worker.mux.thread import in_daemon_thread
from worker.settings import Settings
from worker.web.webhooks.signature import HEADER, header_of

PATH = "/webhooks/mux"
ANSWER_WITHIN_SECONDS = 5.0
EVENT = {"type": "doctor.test", "id": "doctor", "data": {}}
"""An event of a type that nobody needs: it changes nothing."""

NAME = "webhook"


async def check_webhook(settings: Settings) -> Check:
    """Judge whether webhooks would be taken, where a worker runs that takes them."""
    secrets = [secret.get_secret_value() for secret in settings.mux_webhook_secret]
    if not secrets:
        seen = "MUX_WEBHOOK_SECRET is not set: lessons are found by scans alone"
        return Check(NAME, "skipped", seen)
    if settings.port is None:
        return Check(NAME, "skipped", "PORT is not set, so there is no route for webhooks")
    host, port = settings.loopback_host, settings.port
    statuses = await in_daemon_thread(lambda: _statuses(host, port, secrets))
    return judge(f"{host}:{port}", statuses)


def judge(where: str, statuses: Sequence[int | None]) -> Check:
    """Judge the answers: first to an event signed with each secret, last to a forged one."""
    *signed, forged = statuses
    if forged is None:
        return Check(NAME, "skipped", f"no worker answers at {where}: start it, then ask again")
    if forged == 404:
        advice = "Start the worker with the same settings as the doctor."
        return Check(NAME, "failed", f"what listens at {where} has no {PATH}", advice)
    if forged != 401:
        seen = f"what listens at {where} answers a forged event with {forged}, not 401"
        return Check(NAME, "failed", seen, "Is it this worker? Point Mux at nothing else.")
    if any(status != 200 for status in signed):
        seen = f"the worker at {where} answers signed events with {', '.join(map(str, signed))}"
        advice = "Start the worker with the same MUX_WEBHOOK_SECRET as the doctor."
        return Check(NAME, "failed", seen, advice)
    return Check(NAME, "ok", f"{where} takes signed events and refuses forged ones")


def _statuses(host: str, port: int, secrets: Sequence[str]) -> list[int | None]:
    body = json.dumps(EVENT).encode()
    headers = [header_of(secret, time.time(), body) for secret in secrets]
    forged = header_of(f"not {secrets[0]}", time.time(), body)
    return [_post(host, port, body, header) for header in [*headers, forged]]


def _post(host: str, port: int, body: bytes, header: str) -> int | None:
    connection = http.client.HTTPConnection(host, port, timeout=ANSWER_WITHIN_SECONDS)
    try:
        connection.request("POST", PATH, body, {HEADER: header})
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()
