"""The lists of `make mutants` fit the code; what its tests find only the run itself says."""

from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.checkout import CHECKOUT
from tests.mutation.hand_made import MutantError, read_mutants
from tests.mutation.tool import Change, read_excused, stale, unexcused

MUTANTS = read_mutants()
KEPT = Change("worker.decide.decide", "return verdict")


def test_each_change_is_made_in_one_place() -> None:
    """Its text is in its file exactly once, and is another one afterwards."""
    for mutant in MUTANTS:
        assert (CHECKOUT / mutant.file).read_text().count(mutant.text) == 1, mutant
        assert mutant.becomes != mutant.text
    assert len({(m.file, m.text, m.becomes) for m in MUTANTS}) == len(MUTANTS)


def test_each_change_names_tests_that_are_there() -> None:
    """A folder of them, or a file."""
    named = {test for mutant in MUTANTS for test in mutant.tests}
    assert [test for test in named if not (CHECKOUT / "tests" / test).exists()] == []


def test_a_change_whose_text_is_gone_is_not_tried(tmp_path: Path) -> None:
    """A run that changed nothing would be said to find nothing."""
    mutant = replace(MUTANTS[0], file="code.sql", text="a", becomes="b")
    file = tmp_path / "code.sql"
    for code in ("", "a a"):
        file.write_text(code)
        with pytest.raises(MutantError):
            mutant.apply(tmp_path)
        assert file.read_text() == code
    file.write_text("x a")
    assert (mutant.apply(tmp_path), file.read_text()) == ("x a", "x b")


def test_an_excuse_is_for_one_change_and_has_to_be_needed() -> None:
    """What is missed and not excused is reported, and so is an excuse for what is found."""
    other = replace(KEPT, becomes="return None")
    assert unexcused([KEPT, other], [other]) == [KEPT]
    assert stale([KEPT], [KEPT, other]) == [other]


def test_each_excuse_has_a_reason_and_a_function_that_is_there() -> None:
    """The reason is a sentence."""
    for change, reason in read_excused().items():
        assert reason.endswith("."), change
        module, _, function = change.function.rpartition(".")
        if module.rpartition(".")[2][0] in "_ABCDEFGHIJKLMNOPQRSTUVWXYZ":  # a class
            module = module.rpartition(".")[0]
        source = (CHECKOUT / module.replace(".", "/")).with_suffix(".py").read_text()
        assert f"def {function}(" in source, change
