from collections.abc import Mapping
from typing import Any

import pytest
from aiohttp import encode_basic_auth, web
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from worker.web.dashboard.auth import OPERATOR, OperatorAuth, is_browser, is_same_origin

TOKEN = "the-operators-token"
HERE = "worker.example:8080"


class Admitted:
    """Counts refused tokens, and answers with the operator's name."""

    def __init__(self) -> None:
        self.refused = 0

    def count(self) -> None:
        """Count a refused token."""
        self.refused += 1

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Return the operator's name."""
        return web.Response(text=request[OPERATOR])


def request(method: str = "GET", **headers: str) -> web.Request:
    """Build a request with these headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return make_mocked_request(method, "/", {"Host": HERE, **named})


async def answer(headers: Mapping[str, str], method: str = "GET") -> tuple[Any, int]:
    """Return what a guarded handler answers, and how many tokens were refused."""
    admitted = Admitted()
    guarded = OperatorAuth(TOKEN, admitted.count).guard(admitted.handle)
    return await guarded(request(method, **headers)), admitted.refused


def basic(name: str, token: str = TOKEN) -> str:
    """Return the header of a name and a token."""
    return encode_basic_auth(name, token, "utf-8")


@pytest.mark.parametrize(
    ("header", "name"),
    [
        (basic("Inés"), "Inés"),
        (basic("  In\u202ees \x00 "), "In es"),
        (basic("x" * 900), "x" * 60),
        (basic(""), "operator"),
        (basic("\u200b"), "operator"),
        (f"Bearer {TOKEN}", "operator"),
        (f"bearer  {TOKEN} ", "operator"),
    ],
)
async def test_the_token_admits_under_the_name_given(header: str, name: str) -> None:
    """By Basic or Bearer; without a printable name it is `operator`."""
    response, refused = await answer({"Authorization": header})
    assert (response.status, response.text, refused) == (200, name, 0)


@pytest.mark.parametrize(
    "header",
    [
        "",
        TOKEN,
        "Bearer",
        "Bearer x",
        f"Bearer {TOKEN}x",
        "Bearer é",
        "Basic",
        "Basic x",
        "Basic é",
        "Basic //8=",
        f"Basic {TOKEN}",
        basic("Ines", "wrong"),
        basic("Ines", TOKEN[:-1]),
        basic("Ines", ""),
        basic(TOKEN, "Ines"),
        f"Digest {TOKEN}",
    ],
)
async def test_any_other_authorization_is_refused_and_counted(header: str) -> None:
    """401 with a challenge that makes a browser prompt for name and password."""
    response, refused = await answer({"Authorization": header})
    assert (response.status, refused) == (401, 1)
    assert response.headers["WWW-Authenticate"] == 'Basic realm="mux-worker", charset="UTF-8"'


async def test_a_request_without_a_token_is_not_counted() -> None:
    """It is every browser's first."""
    with capture_logs() as lines:
        response, refused = await answer({})
    assert (response.status, refused, lines) == (401, 0, [])


async def test_refused_tokens_are_logged_once_a_minute() -> None:
    """Without the token."""
    admitted = Admitted()
    guarded = OperatorAuth(TOKEN, admitted.count).guard(admitted.handle)
    with capture_logs() as lines:
        for n in range(5):
            await guarded(request(Authorization=f"Bearer wrong-{n}"))
    assert [(line["event"], line["log_level"]) for line in lines] == [("web.refused", "warning")]
    assert "wrong-" not in str(lines)
    assert admitted.refused == 5


SAME_ORIGIN = [
    {},
    {"Sec-Fetch-Site": "same-origin"},
    {"Sec-Fetch-Site": "none"},
    {"Sec-Fetch-Site": "same-origin", "Origin": "null"},
    {"Origin": f"http://{HERE}"},
    {"Origin": f"https://{HERE}"},
]
ELSEWHERE = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": ""},
    {"Sec-Fetch-Site": "cross-site", "Origin": f"https://{HERE}"},
    {"Origin": "null"},
    {"Origin": ""},
    {"Origin": "null", "Host": ""},
    {"Origin": "https://evil.example"},
    {"Origin": "http://worker.example"},
    {"Origin": "http://worker.example:8081"},
    {"Origin": f"http://{HERE}@evil.example"},
    {"Origin": "http://[broken"},
]


@pytest.mark.parametrize("headers", SAME_ORIGIN, ids=str)
async def test_a_change_is_allowed_for_our_pages_and_for_programs(headers: dict[str, str]) -> None:
    """A browser names its origin with every form; a program names none."""
    assert is_same_origin(request("POST", **headers))
    assert is_browser(request("POST", **headers)) == bool(headers)
    response, _ = await answer({"Authorization": f"Bearer {TOKEN}", **headers}, "POST")
    assert response.status == 200


@pytest.mark.parametrize("headers", ELSEWHERE, ids=str)
async def test_a_change_is_refused_for_other_sites(headers: dict[str, str]) -> None:
    """403, also with the token; a page is still shown."""
    assert not is_same_origin(request("POST", **headers))
    response, refused = await answer({"Authorization": f"Bearer {TOKEN}", **headers}, "POST")
    assert (response.status, refused) == (403, 0)
    response, _ = await answer({"Authorization": f"Bearer {TOKEN}", **headers})
    assert response.status == 200
