"""Which lessons a list shows, as its address says it. Pure."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self
from urllib.parse import urlencode

from worker.errors import UsageError
from worker.overview import ALL, LISTS
from worker.text import clean_input, plain_id

PATH = "/lessons"
MAX_LENGTH = 300

HEADINGS: Mapping[str, str] = {
    ALL: "All lessons",
    "unplayable": "Published, plays nothing",
    "failed": "Failed",
    "stuck": "Stuck",
    "waiting": "Waiting",
    "published": "Published",
}
"""Each list of lessons, in the order in which it is offered."""

OLDEST_FIRST = ("stuck", "waiting")


@dataclass(frozen=True, slots=True)
class LessonFilter:
    """A list of lessons: its state, what it is searched for, and where its page begins.

    `error_type` is for failed lessons alone. `after` is the `next` of the page before.
    """

    state: str = ALL
    search: str = ""
    error_type: str = ""
    after: str = ""

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Self:
        """Return the list that a query names.

        Raises UsageError if there is no such list.
        """
        names = ("state", "search", "error_type")
        given = {name: clean_input(query.get(name, "")) for name in names}
        for name, value in given.items():
            if len(value) > MAX_LENGTH:
                raise UsageError(f"{name} is longer than {MAX_LENGTH} characters. Shorten it.")
        after = query.get("after", "").replace("\0", "")
        state = given["state"] or ALL
        if state not in HEADINGS:
            known = ", ".join((*LISTS, ALL))
            raise UsageError(f"There is no state {plain_id(state)}. Choose one of {known}.")
        if given["error_type"] and state != "failed":
            raise UsageError("Only failed lessons have an error type. Choose the state failed.")
        return cls(state, given["search"], given["error_type"], after)

    def path(self, **changes: str) -> str:
        """Return the address of this list, with some of its fields changed."""
        fields = {**asdict(self), **changes}
        pairs = {n: value for n, value in fields.items() if value and (n, value) != ("state", ALL)}
        return f"{PATH}?{urlencode(pairs)}" if pairs else PATH

    @property
    def first_page(self) -> str:
        """Return the address of the list's first page."""
        return self.path(after="")

    @property
    def is_oldest_first(self) -> bool:
        """Whether the list begins with the oldest."""
        return self.state in OLDEST_FIRST
