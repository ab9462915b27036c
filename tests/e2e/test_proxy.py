"""The worker in a network whose only way out is a proxy."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from sandbox.mux.server import MuxSimulator
from sandbox.supabase.stack import LocalSupabase
from tests.commands import run
from tests.course import Course
from tests.e2e.evidence import assert_published
from tests.forward_proxy import PASSWORD, QUOTED, ForwardProxy
from tests.worker_process import WorkerProcess

pytestmark = pytest.mark.stack

SUPABASE, MUX = "supabase.internal", "mux.internal"
NO_PROXY_KIND = (
    "{} is no address like http://host:port, the only kind of proxy that is supported. Correct it, "
    "or name the hosts of SUPABASE_URL and MUX_BASE_URL in NO_PROXY."
)
NO_FILE = "SSL_CERT_FILE names no file of certificates that can be read. Correct it, or unset it."


@pytest.fixture
def proxy(supabase: LocalSupabase, mux: MuxSimulator, tmp_path: Path) -> Iterator[ForwardProxy]:
    """Run a proxy that knows both services by names which nothing else knows."""
    ports = {SUPABASE: urlsplit(supabase.url).port or 0, MUX: urlsplit(mux.url).port or 0}
    with ForwardProxy(ports, tmp_path) as proxy:
        yield proxy


def doctor(environment: dict[str, str], **more: str) -> subprocess.CompletedProcess[str]:
    """Run the doctor as its users do."""
    return run("doctor", "--json", env={**environment, **more})


@pytest.mark.parametrize(("scheme", "method"), [("https", "CONNECT"), ("http", "POST")])
def test_a_lesson_is_published_through_a_proxy(
    scheme: str,
    method: str,
    worker: WorkerProcess,
    course: Course,
    mux: MuxSimulator,
    proxy: ForwardProxy,
) -> None:
    """Supabase and Mux are both asked through it, with its password, which no log line shows."""
    upload_id = mux.state.create_upload()
    lesson = course.tracked_lesson(upload_id)
    urls = {"SUPABASE_URL": f"{scheme}://{SUPABASE}", "MUX_BASE_URL": f"{scheme}://{MUX}"}
    worker.start(**proxy.variables, **urls)
    assert_published(worker, course, mux, lesson, upload_id)
    assert worker.stop() == 0
    to_mux = method if method == "CONNECT" else "GET"
    assert proxy.requests == {(method, SUPABASE), (to_mux, MUX)}
    assert [secret for secret in (PASSWORD, QUOTED) if secret in worker.output] == []


@pytest.mark.parametrize(
    ("scheme", "health", "seen"),
    [
        ("https", "ok", "{} through the proxy 127.0.0.1 answers with a valid certificate"),
        ("http", "warning", "{} through the proxy 127.0.0.1 answers, without TLS"),
    ],
)
def test_the_doctor_takes_the_road_that_the_worker_takes(
    scheme: str, health: str, seen: str, environment: dict[str, str], proxy: ForwardProxy
) -> None:
    """Through the proxy it finds both services well, and its own check of the road goes there."""
    urls = {"SUPABASE_URL": f"{scheme}://{SUPABASE}", "MUX_BASE_URL": f"{scheme}://{MUX}"}
    result = doctor(environment, **proxy.variables, **urls)
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    roads = [checks["Supabase network"], checks["Mux network"]]
    returned = [(road["health"], re.sub(r":\d+", "", road["detail"])) for road in roads]
    assert returned == [(health, seen.format(SUPABASE)), (health, seen.format(MUX))]
    assert (result.returncode, result.stderr) == (0, "")
    assert {host for _, host in proxy.requests} == {SUPABASE, MUX}
    if scheme == "http":
        assert {("HEAD", SUPABASE), ("HEAD", MUX)} <= proxy.requests


def test_a_proxy_that_refuses_is_no_broken_road_without_a_name(
    environment: dict[str, str], proxy: ForwardProxy
) -> None:
    """The doctor says that it is the proxy, why, and which variables are to be looked at."""
    wrong = proxy.variables["https_proxy"].replace(QUOTED, "guessed")
    urls = {"SUPABASE_URL": f"https://{SUPABASE}", "MUX_BASE_URL": f"https://{MUX}"}
    result = doctor(environment, **urls, **{**proxy.variables, "https_proxy": wrong})
    road = json.loads(result.stdout)[1]
    assert road["detail"] == (
        f"{SUPABASE} does not answer through the proxy 127.0.0.1: 407 Proxy Authentication Required"
    )
    assert road["advice"] == (
        "Check SUPABASE_URL, the proxy, and the variables HTTPS_PROXY and NO_PROXY."
    )
    assert result.returncode == 1
    assert "guessed" not in result.stdout + result.stderr


def test_hosts_in_no_proxy_and_this_machine_are_asked_directly(
    environment: dict[str, str], proxy: ForwardProxy
) -> None:
    """The doctor and both clients leave the proxy out."""
    result = doctor(environment, **proxy.variables)
    assert (result.returncode, proxy.requests) == (0, set())
    urls = {"SUPABASE_URL": f"https://{SUPABASE}", "MUX_BASE_URL": f"https://{MUX}"}
    result = doctor(environment, **urls, **proxy.variables, NO_PROXY="::1,fd00::/8,.internal")
    checks = {check["name"]: check["detail"] for check in json.loads(result.stdout)}
    assert [checks["Supabase network"], checks["Mux network"]] == [
        f"{SUPABASE} has no address",
        f"{MUX} has no address",
    ]
    assert proxy.requests == set()
    result = doctor(environment, **urls, **proxy.variables, no_proxy=MUX)
    assert {host for _, host in proxy.requests} == {SUPABASE}


@pytest.mark.parametrize(
    "variables",
    [
        {"NO_PROXY": "::1,fd00::/8,10.0.0.0/8,[fe80::1]"},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"REQUESTS_CA_BUNDLE": "/nowhere"},
        {"SSL_CERT_DIR": ""},
    ],
    ids=lambda variables: str(next(iter(variables))),
)
def test_variables_that_do_not_concern_the_worker_do_not_stop_it(
    environment: dict[str, str], variables: dict[str, str]
) -> None:
    """A service of this machine is found well, and nothing is complained about."""
    result = doctor(environment, **variables)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"ALL_PROXY": "socks5://me:hush@127.0.0.1:9"}, NO_PROXY_KIND.format("ALL_PROXY")),
        ({"https_proxy": "http://[hush"}, NO_PROXY_KIND.format("https_proxy")),
        ({"SSL_CERT_FILE": "/nowhere/hush.pem"}, NO_FILE),
        ({"SSL_CERT_FILE": "/dev/null"}, NO_FILE),
        (
            {"SSL_CERT_DIR": "/nowhere/hush"},
            "SSL_CERT_DIR names no directory. Correct it, or unset it.",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "doctor"])
def test_a_variable_that_cannot_be_followed_is_named(
    environment: dict[str, str], command: str, variables: dict[str, str], sentence: str
) -> None:
    """Each command says in one sentence which it is, never what is in it, and exits with 2."""
    env = {**environment, "SUPABASE_URL": f"https://{SUPABASE}", **variables}
    result = run(command, env=env)
    assert (result.returncode, result.stdout, result.stderr) == (2, "", f"{sentence}\n")
