import pytest

from worker.text import ago, clean_input, duration, plain_id, plain_text


def test_an_id_shows_what_is_invisible() -> None:
    """Direction, invisible and control characters are replaced by their code points."""
    assert plain_id("up\u202e1\u200b\x1b\x00\ud800é") == (
        "up\\u{202e}1\\u{200b}\\u{001b}\\u{0000}\\u{d800}é"
    )


def test_a_text_keeps_its_language() -> None:
    """What joins letters stays; only direction and control characters are replaced."""
    persian = "\u0645\u06cc\u200c\u062e\u0648\u200f"
    assert plain_text(f"{persian}\n\u202ex\x07\u2066\ud800") == (
        f"{persian}\n\\u{{202e}}x\\u{{0007}}\\u{{2066}}\\u{{d800}}"
    )


def test_input_becomes_one_printable_line() -> None:
    """It is shortened, too."""
    assert clean_input(" In\u202ees \x00\n of  ops ") == "In es of ops"
    assert clean_input("x" * 900, 60) == "x" * 60


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (10.4, "10 s"),
        (119.9, "120 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_a_duration_has_one_unit(seconds: float, text: str) -> None:
    """The largest of which there are at least two."""
    assert duration(seconds) == text


def test_an_age_is_never_negative() -> None:
    """Clocks differ; an unknown age is an empty text."""
    assert (ago(-3.0), ago(7200), ago(None)) == ("0.0 s ago", "2 h ago", "")
