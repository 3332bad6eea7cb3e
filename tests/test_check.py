"""The engine of the exercises: what it reads as an answer, and what a student sees."""

from __future__ import annotations

import ast
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
import torch

from dgmlab import check as engine
from dgmlab import notebooks
from dgmlab.check import NotYet, array, calls, check, choice, exercise, judge, number
from dgmlab.errors import LabError


@pytest.fixture
def lab99(monkeypatch):
    """A lab of three exercises that are gone after the test."""
    engine.exercises()                                  # the real ones are registered once, when they are imported
    monkeypatch.setattr(engine, "_exercises", dict(engine._exercises))

    @exercise("99.1")
    def half(answer) -> str:
        if number(answer) != 0.5:
            raise NotYet("Divide one by two: 1 / 2.")
        return "One by two."

    @exercise("99.2")
    def twice(function, *, of=3.0) -> str:
        if number(calls(function, of)) != 2 * of:
            raise NotYet("Not twice.")
        return "Twice."

    @exercise("99.3")
    def pair(one, other) -> str:
        return str(array(one).size + array(other).size)


# -- numbers and arrays ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [
    0.5, Fraction(1, 2), Decimal("0.5"), np.float32(0.5), np.array(0.5), np.array([[0.5]]), [0.5], (0.5,),
    torch.tensor(0.5), torch.tensor([0.5], requires_grad=True), torch.tensor(0.5, dtype=torch.bfloat16),
    [torch.tensor(0.5)], pd.Series([0.5]), np.array([Fraction(1, 2)]), np.longdouble(0.5)])
def test_a_number_of_any_kind(answer):
    assert number(answer) == 0.5


@pytest.mark.parametrize(("answer", "says"), [
    ("0.5", "should be a number, but it is text ('0.5')"), (["0.5"], "should be a number, but it is a list"),
    (None, "but it is None"), ([None], "but it is a list"), (True, "but it is a bool"), (np.True_, "but it is a bool"),
    (torch.tensor(True), "but it is a Tensor"), (1j, "but it is a complex"), (print, "but it is a function"),
    ({"a": 1}, "but it is a dict"), ([1, 2], "should be one number, but it holds 2"), ([], "but it holds 0"),
    (float("nan"), "is nan, but it should be a finite number"), (torch.tensor(float("inf")), "is inf"),
    (pd.Timestamp("2020-01-01"), "but it is a Timestamp"), (object(), "but it is an object")])
def test_no_number(answer, says):
    with pytest.raises(NotYet, match=re.escape(says)):
        number(answer)


@pytest.mark.parametrize("answer", [
    [[1, 2], [3, 4]], ((1, 2), (3, 4)), np.array([[1, 2], [3, 4]]),
    torch.tensor([[1.0, 2], [3, 4]], requires_grad=True), [torch.tensor([1, 2]), torch.tensor([3, 4])],
    [[torch.tensor(1), 2], [3, np.float32(4)]],
    pd.DataFrame({"a": [1, 3], "b": [2, 4]}), [[Fraction(1), 2], [3, Decimal(4)]]])
def test_an_array_of_any_kind(answer):
    value = array(answer, shape=(2, None))
    assert value.dtype == np.float64 and value.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(("answer", "shape", "says"), [
    ([1, 2], (3,), "has the shape (2,), but it should be (3,)"), (1.0, (3,), "has the shape ()"),
    ([[1, 2]], (None, 3), "should be (any, 3)"), ([[1, 2], [3]], None, "(are its rows of one length?)"),
    ([1, "2"], None, "should be made of numbers"), ([1, float("nan")], None, "not finite"),
    ([True, False], None, "should be made of numbers")])
def test_no_array(answer, shape, says):
    with pytest.raises(NotYet, match=re.escape(says)):
        array(answer, shape=shape)


# -- words and functions ---------------------------------------------------------------------------------------------


def test_a_choice_is_no_matter_of_spelling():
    words = {"smaller": ["less", "lower"], "the same": ["equal"]}
    for answer in ("smaller", "Smaller.", " LESS ", "lower!"):
        assert choice(answer, words) == "smaller"
    assert choice("the-same", words) == choice("The_same", words) == choice("equal", words) == "the same"
    for answer, says in {"bigger": "is 'bigger', but it should be one of 'smaller' or 'the same'",
                         2: "in quotes, but it is an int"}.items():
        with pytest.raises(NotYet, match=re.escape(says)):
            choice(answer, words)


@pytest.mark.parametrize(("function", "says"), [
    (3, "should be a function, but it is an int"), (lambda: 1, "stops with TypeError"),
    (lambda x: None, "returns nothing; does it end with `return`?"),
    (lambda x: undefined, "stops with NameError: name 'undefined' is not defined."),  # noqa: F821
    (lambda x: [][0], "stops with IndexError: list index out of range."), (lambda x: x / 0, "ZeroDivisionError")])
def test_what_goes_wrong_in_a_students_function_is_a_hint(function, says):
    with pytest.raises(NotYet, match=re.escape(says)):
        calls(function, 1.0)


def test_an_error_without_words_has_no_dangling_colon():
    def stops(x):
        raise ValueError

    with pytest.raises(NotYet, match=r"stops with ValueError\.$"):
        calls(stops, 1.0)


def test_a_function_may_want_tensors():
    assert float(calls(lambda x: torch.log(x), 1.0)) == 0
    with pytest.raises(NotYet, match="stops with TypeError"):
        calls(lambda x: torch.log("a"), 1.0)


# -- outcomes --------------------------------------------------------------------------------------------------------


def test_right_wrong_and_unanswered(lab99, capsys):
    check("99.1", 1 / 2)
    check("99.1", ...)
    with pytest.raises(NotYet) as wrong:
        check("99.1", 0.4)
    tick, reminder = capsys.readouterr().out.splitlines()
    assert tick == "✓ 99.1 is right. One by two."
    assert reminder.startswith("○ 99.1 is not answered yet: put your answer in place of the `...` above")
    assert str(wrong.value) == "99.1 is not right yet. Divide one by two: 1 / 2." and wrong.value.__cause__ is None
    assert judge("99.1", 0.4) == engine.Outcome("99.1", True, False, "Divide one by two: 1 / 2.")


@pytest.mark.parametrize("answers", [
    ("99.1", ...), ("99.1", [...]), ("99.1", [1, [2, ...]]), ("99.1", {"a": ...}), ("99.3", 1, ...),
    ("99.2", lambda x: ...), ("99.2", lambda x: (x, ...)), ("99.2", lambda x: x * ...), ("99.2", lambda x: -...),
    ("99.2", lambda x: np.sqrt(...)), ("99.2", lambda x: torch.sqrt(...)), ("99.2", lambda x: float(...))])
def test_a_place_left_open_is_no_answer(lab99, answers):
    outcome = judge(*answers)
    assert not outcome.answered and not outcome.passed


def test_empty_lists_and_arrays_are_answers(lab99):
    assert judge("99.3", [], np.zeros(3)).passed and judge("99.3", (), [[]]).passed


def test_an_unknown_exercise_lists_the_known(lab99):
    with pytest.raises(LabError, match=r"no exercise '99.7'; the exercises are: 99.1, 99.2, 99.3\."):
        check("99.7", 1)
    for unknown in ("98.1", 3, None):
        with pytest.raises(LabError, match=rf"no exercise {unknown!r}; the exercises are: .*03.1"):
            check(unknown, 1)


def test_a_check_called_otherwise_says_what_it_takes(lab99):
    for wrong in (lambda: check("99.1", 1, 2), lambda: check("99.3", 1), lambda: check("99.2", print, off=2)):
        with pytest.raises(LabError, match="cannot be called like this .* it takes: the exercise's name, "):
            wrong()


def test_long_sentences_are_broken_between_words():
    lines = engine.wrapped("✓ 99.1 is right. " + "somewhat long-winded words " * 20).splitlines()
    assert len(lines) > 4 and max(map(len, lines)) <= 100 and not any(line.endswith("-") for line in lines)


def test_a_number_is_given_once(lab99):
    with pytest.raises(LabError, match="Two functions judge the exercise 99.1"):
        @exercise("99.1")
        def another(answer):
            return ""


# -- in a notebook ---------------------------------------------------------------------------------------------------


def test_a_notebook_shows_the_hint_and_nothing_else(lab99, capsys):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    try:
        shell.run_cell("from dgmlab.check import check")
        capsys.readouterr()
        result = shell.run_cell('check("99.1", 0.4)')
    finally:
        shell.history_manager.end_session()
    assert isinstance(result.error_in_exec, NotYet)
    captured = capsys.readouterr()
    assert captured.out.strip() + captured.err.strip() == "✗ 99.1 is not right yet. Divide one by two: 1 ∕ 2."


def test_every_exercise_has_one_check_in_its_lab_and_every_check_an_exercise():
    used = {}
    for path in notebooks.labs():
        called = [ast.literal_eval(node.args[0]) for cell in notebooks.read(path).cells
                  if "check" in cell.metadata.get("tags", []) for node in ast.walk(ast.parse(cell.source))
                  if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "check"]
        assert len(set(called)) == len(called), f"{path.stem} checks an exercise twice"
        used[path.stem[:2]] = sorted(called)
    judged = {lab: [name for name in engine.exercises() if name.startswith(f"{lab}.")]
              for lab in {name[:2] for name in engine.exercises()} | set(used)}
    assert used == judged
