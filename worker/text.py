"""Write what others have written so that it cannot pass for something else. Pure.

Escaping is the templates' part. What is left are characters that turn the direction of a text, or
are not seen at all: in an id they are shown by their number.
"""

import unicodedata

LONGEST_FIELD = 500

_TURNS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def plain_id(text: object) -> str:
    """Write an id: whatever does not print is shown by its number."""
    return "".join(c if c.isprintable() else _number(c) for c in str(text))


def plain_text(text: object) -> str:
    """Write a text of people: only what steers, or turns what follows, is shown by its number."""
    return "".join(_shown(c) for c in str(text))


def typed(text: str, longest: int = LONGEST_FIELD) -> str:
    """Take what somebody typed into a field of one line, without what does not print."""
    printed = "".join(c if c.isprintable() else " " for c in unicodedata.normalize("NFC", text))
    return " ".join(printed.split())[:longest]


def _shown(character: str) -> str:
    if character in "\n\t":
        return character
    is_odd = character in _TURNS or unicodedata.category(character) in ("Cc", "Cs")
    return _number(character) if is_odd else character


def _number(character: str) -> str:
    return f"\\u{{{ord(character):04x}}}"
