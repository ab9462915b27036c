"""Write durations, ids and foreign text so that they are safe to print. Pure.

Templates escape HTML. This module handles characters that control a terminal, reverse
the direction of a text, or are invisible: it replaces them by their code point.
"""

import unicodedata

MAX_INPUT_LENGTH = 500

_BIDIRECTIONAL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain_id(text: object) -> str:
    """Return an id, or any text of one line, with the code point of each unprintable character."""
    return "".join(c if c.isprintable() else _code_point(c) for c in str(text))


def plain_text(text: object) -> str:
    """Return a text in any language; only control and direction characters are replaced."""
    return "".join(_visible(c) for c in str(text))


def quoted(text: str, max_length: int = 60) -> str:
    """Return a text as a Python literal in ASCII, shortened to `max_length`."""
    return ascii(text if len(text) <= max_length else f"{text[:max_length]}...")


def clean_input(text: str, max_length: int = MAX_INPUT_LENGTH) -> str:
    """Return what a person entered as one printable line, shortened to `max_length`."""
    printable = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    return " ".join(printable.split())[:max_length]


def duration(seconds: float) -> str:
    """Return seconds in the largest unit of which there are at least two."""
    for unit, name in ((86_400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def ago(seconds: float | None) -> str:
    """Return an age such as "2 h ago", or "" for None."""
    return "" if seconds is None else f"{duration(max(0.0, seconds))} ago"


def _visible(character: str) -> str:
    if character in "\n\t":
        return character
    is_control = unicodedata.category(character) in ("Cc", "Cs")
    return _code_point(character) if is_control or character in _BIDIRECTIONAL else character


def _code_point(character: str) -> str:
    return f"\\u{{{ord(character):04x}}}"
