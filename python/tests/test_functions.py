"""Functions that run in sandboxes."""

import dataclasses
import json
import math
import pickle
from collections import Counter
from collections.abc import Iterator
from math import sqrt
from typing import Any

import pytest
from helpers.home import Home

from ebbtide import (
    AsyncFunctionError,
    FunctionError,
    SandboxError,
    SandboxExecutionError,
    Session,
    results,
)

LIMIT = 7
TABLE = {"a": [1, 2], "b": {"c": None}}
HANDLE = object()


def double(value: int) -> int:
    return 2 * value


def quadruple(value: int) -> int:
    return double(double(value))


class Mistake(ValueError):
    pass


@dataclasses.dataclass
class Point:
    x: int
    y: int

    def length(self) -> float:
        return math.hypot(self.x, self.y)


@pytest.fixture
def session(home: Home) -> Iterator[Session]:
    with Session() as session:
        yield session


def test_a_call_runs_elsewhere_and_returns_what_the_function_returns(session: Session) -> None:
    @session.function()
    def about(name: str, *, loud: bool = False) -> dict[str, Any]:
        import os

        return {"pid_of_init": os.getpid(), "name": name.upper() if loud else name}

    here = about.local("x", loud=True)
    there = about.remote("x", loud=True).result()
    assert here["name"] == there["name"] == "X"
    assert here["pid_of_init"] != there["pid_of_init"]
    assert session.sandbox_count == 0


def test_what_is_around_a_function_travels_with_it(session: Session) -> None:
    factor = 3

    @session.function
    def all_of_it(value: int) -> list[Any]:
        def inner() -> int:
            return LIMIT

        counted = Counter("aab")["a"]
        return [value * factor, inner(), quadruple(value), TABLE, sqrt(16), math.floor(2.5), counted]

    assert all_of_it.remote(5).result() == [15, 7, 20, TABLE, 4.0, 2, 2]


def test_classes_of_the_program_travel_too(session: Session) -> None:
    @session.function()
    def length() -> float:
        return Point(3, 4).length()

    assert length.remote().result() == 5.0


def test_calls_of_a_map_run_at_the_same_time_and_come_back_in_order(session: Session) -> None:
    @session.function()
    def add(a: int, b: int) -> int:
        return a + b

    assert results(add.map([(1, 2), (3, 4), (5, 6)])) == [3, 7, 11]
    with pytest.raises(TypeError, match=r"calls\[1\] is int.*write \(2,\)"):
        add.map([(1, 1), 2])  # type: ignore[list-item]


def test_an_exception_comes_back_as_such_with_the_remote_traceback(session: Session) -> None:
    @session.function()
    def divide(a: int, b: int) -> float:
        return a / b

    with pytest.raises(ZeroDivisionError, match="division by zero") as raised:
        divide.remote(1, 0).result()
    error = raised.value
    assert isinstance(error, SandboxExecutionError)
    assert error.exception_type == "ZeroDivisionError"
    assert error.exception_message == "division by zero"
    assert error.remote_traceback is not None
    assert "in divide" in error.remote_traceback
    assert "in divide" in str(error)
    assert error.exec_result is not None
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, ZeroDivisionError)
    assert again.remote_traceback == error.remote_traceback


def test_an_exception_of_the_program_is_of_its_class_here(session: Session) -> None:
    @session.function()
    def fail() -> None:
        raise KeyError("k") from None

    @session.function()
    def mistake() -> None:
        raise Mistake("a", 1)

    with pytest.raises(KeyError) as missing:
        fail.remote().result()
    assert missing.value.args == ("k",)
    # Defined in the program, which is the main module there: unknown here, but told by its name.
    with pytest.raises(SandboxExecutionError) as raised:
        mistake.remote().result()
    assert raised.value.exception_type == "Mistake"


def test_what_json_cannot_carry_is_named(session: Session) -> None:
    @session.function()
    def identity(value: Any) -> Any:
        return value

    @session.function()
    def reads() -> str:
        return repr(HANDLE)

    @session.function()
    def returns() -> Any:
        return {1, 2}

    with pytest.raises(TypeError, match=r"argument 0 of .*identity\(\) is set.*pickle"):
        identity.remote({1})
    with pytest.raises(TypeError, match=r"the key 1, and JSON has no keys but strings"):
        identity.remote({"a": [{1: 2}]})
    with pytest.raises(TypeError, match=r"the variable 'HANDLE' of .*reads\(\) is object"):
        reads.remote()
    with pytest.raises(SandboxExecutionError, match="returned set, which json cannot carry"):
        returns.remote().result()
    assert identity.remote((1, "ü", None)).result() == json.loads('[1, "ü", null]')


def test_pickle_carries_what_json_cannot(session: Session) -> None:
    @session.function(serialization="pickle")
    def union(a: set[int], b: set[int]) -> set[int]:
        return a | b

    assert union.remote({1}, {2}).result() == {1, 2}


def test_what_cannot_be_sent_is_refused_where_it_is_decorated(session: Session) -> None:
    async def waits() -> None: ...

    def yields() -> Iterator[int]:
        yield 1

    with pytest.raises(AsyncFunctionError, match="asynchronous"):
        session.function()(waits)
    with pytest.raises(FunctionError, match="generator"):
        session.function()(yields)
    with pytest.raises(FunctionError, match="lambda"):
        session.function()(lambda: 1)
    with pytest.raises(FunctionError, match="no function"):
        session.function()(len)
    with pytest.raises(ValueError, match="'yaml'; accepted: json, pickle"):
        session.function(serialization="yaml")
    with pytest.raises(TypeError, match="has no argument 'imag'"):
        session.function(imag="host")  # type: ignore[call-overload]


def test_a_function_of_a_closed_session_makes_no_sandbox(home: Home) -> None:
    session = Session()

    @session.function()
    def one() -> int:
        return 1

    session.close().result()
    with pytest.raises(SandboxError, match="session is closed"):
        one.remote()
