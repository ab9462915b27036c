import pytest

from worker.web.dashboard.auth import own_path
from worker.web.dashboard.login_throttle import BURST, SECONDS_EACH, Slowing
from worker.web.dashboard.sessions import SESSION_SECONDS, VISITOR_SECONDS, Sessions

TOKEN = "the-operators-token"


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        """Give the time."""
        return self.now


@pytest.fixture
def clock() -> Clock:
    """Give a clock that stands."""
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    """Give sessions of the token, by the clock."""
    return Sessions(TOKEN, clock)


def test_a_session_is_read_back_until_it_is_over(sessions: Sessions, clock: Clock) -> None:
    """For twelve hours, whatever the operator is called."""
    session = sessions.begin('Iñés "<b>"')
    sealed = sessions.seal(session)
    clock.now += SESSION_SECONDS - 1
    assert sessions.session(sealed) == session
    clock.now += 2
    assert sessions.session(sealed) is None


def test_a_new_token_logs_everybody_out(sessions: Sessions, clock: Clock) -> None:
    """What was signed with the keys of the old one is good for nothing."""
    session = sessions.begin("Ines")
    others = Sessions(TOKEN + "!", clock)
    assert others.session(sessions.seal(session)) is None
    assert others.form_token(session) != sessions.form_token(session)


def test_what_was_changed_or_made_up_is_no_session(sessions: Sessions) -> None:
    """Nor is another kind of cookie, however well signed."""
    sealed = sessions.seal(sessions.begin("Ines"))
    body, _, signature = sealed.rpartition(".")
    for text in (None, "", "x", sealed[:-1], f"{body}x.{signature}", f".{signature}", "é" * 9):
        assert sessions.session(text) is None
    assert sessions.session(sessions.seal(sessions.visitor())) is None
    assert sessions.known(sealed) is None


def test_a_session_that_was_ended_is_over(sessions: Sessions) -> None:
    """Also for a copy of its cookie; others go on."""
    first, second = sessions.begin("Ines"), sessions.begin("Ines")
    sessions.end(first)
    assert sessions.session(sessions.seal(first)) is None
    assert sessions.session(sessions.seal(second)) == second


def test_remembering_who_logged_out_takes_bounded_memory(sessions: Sessions) -> None:
    """Of very many the oldest are forgotten."""
    ended = [sessions.begin("Ines") for _ in range(1001)]
    for session in ended:
        sessions.end(session)
    alive = [s for s in ended if sessions.session(sessions.seal(s))]
    assert alive == ended[:1]


def test_a_form_is_of_one_session(sessions: Sessions) -> None:
    """Another session's form, or another browser's, is none."""
    ours, theirs = sessions.begin("Ines"), sessions.begin("Olaf")
    assert sessions.is_form_token(ours, sessions.form_token(ours))
    for shown in ("", "é", sessions.form_token(theirs), sessions.form_token(sessions.visitor())):
        assert not sessions.is_form_token(ours, shown)


def test_a_browser_is_known_for_a_while(sessions: Sessions, clock: Clock) -> None:
    """Ninety days after its last login."""
    visitor = sessions.visitor(is_known=True)
    clock.now += VISITOR_SECONDS - 1
    assert sessions.known(sessions.seal(visitor)) == visitor
    clock.now += 2
    assert sessions.known(sessions.seal(visitor)) is None


@pytest.mark.parametrize("shown", ["", "the-operators-toke", TOKEN + " ", "é", "\ud800"])
def test_only_the_token_is_the_token(sessions: Sessions, shown: str) -> None:
    """Not its beginning, nor what cannot even be encoded."""
    assert sessions.is_token(TOKEN)
    assert not sessions.is_token(shown)


def test_a_few_wrong_tokens_cost_nothing_many_are_slow(clock: Clock) -> None:
    """After a burst one may be tried every two seconds, and nobody waits longer than that."""
    slowing = Slowing(clock)
    for _ in range(BURST):
        assert slowing.seconds_to_wait("strangers") == 0
        slowing.failed("strangers")
    assert slowing.seconds_to_wait("strangers") == pytest.approx(SECONDS_EACH)
    tried = 0
    for _ in range(1000):  # somebody who tries ten times a second, for a hundred seconds
        clock.now += 0.1
        if slowing.seconds_to_wait("strangers") == 0:
            slowing.failed("strangers")
            tried += 1
    assert tried in range(49, 52)
    clock.now += SECONDS_EACH
    assert slowing.seconds_to_wait("strangers") == 0


def test_who_guesses_keeps_nobody_out_who_was_here_before(clock: Clock) -> None:
    """Each lane has a pace of its own."""
    slowing = Slowing(clock)
    for _ in range(100):
        slowing.failed("strangers")
    assert slowing.seconds_to_wait("known") == 0


LESSON = "/lessons/aaaaaaaa-0000-4000-8000-000000000001"


@pytest.mark.parametrize("path", ["/", LESSON, "/search?q=up_1-2%20x+y"])
def test_after_the_login_one_comes_to_where_one_wanted(path: str) -> None:
    """To a page of ours."""
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        None,
        "",
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/\t/evil.example",
        f"{LESSON}/publish",
        f"{LESSON}\r\nSet-Cookie: a=b",
        f"{LESSON}\n",
        "/search?q=x&next=//evil",
        "/search?q=x;url=//evil",
        "/logout",
        "\\\\evil.example",
        "/@evil.example",
    ],
)
def test_after_the_login_one_comes_nowhere_else(path: str | None) -> None:
    """Whatever a link says."""
    assert own_path(path) == "/"
