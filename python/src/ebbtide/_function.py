"""Functions that run in sandboxes."""

from __future__ import annotations

import base64
import functools
import json
import pickle
import secrets
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

from ebbtide import _capture, _runner
from ebbtide._operation import OperationRef
from ebbtide._process import ProcessResult
from ebbtide._remote_error import remote_error
from ebbtide.exceptions import SandboxExecutionError

if TYPE_CHECKING:
    from ebbtide._session import Session

    if sys.version_info >= (3, 10):
        from typing import ParamSpec
    else:
        from typing_extensions import ParamSpec

    P = ParamSpec("P")
else:
    P = TypeVar("P")

R = TypeVar("R")

KINDS = ("json", "pickle")
_PROGRAM = Path(_runner.__file__).read_text()


class RemoteFunction(Generic[P, R]):
    """A function that runs in a sandbox of its own, each call in a new one.

    Made by `@session.function()`. Its source travels, with what it reads from around it: variables as JSON (or
    pickled), functions and classes of the program by their source, modules by their names, to be imported there.

    Examples:
        >>> @session.function()
        ... def add(a: int, b: int) -> int:
        ...     return a + b
        >>> add.remote(1, 2).result()
        3
        >>> results(add.map([(1, 2), (3, 4)]))
        [3, 7]
    """

    def __init__(
        self,
        function: Callable[P, R],
        session: Session,
        options: Mapping[str, Any],
        *,
        temp_dir: str,
        serialization: str,
    ) -> None:
        _capture.check(function)
        functools.update_wrapper(self, function)  # type: ignore[arg-type]
        self._function = function
        self._session = session
        self._options = options
        self._temp_dir = temp_dir.rstrip("/")
        self._kind = serialization

    def remote(self, *args: P.args, **kwargs: P.kwargs) -> OperationRef[R]:
        """Runs it in a sandbox.

        Returns:
            An operation with what the function returns. As JSON, tuples come back as lists, and keys as strings.

        Raises:
            TypeError: An argument, or a variable that the function reads, cannot be carried.
            FunctionError: The function's source cannot be read.
            SandboxExecutionError: The function has raised an exception, or returned what cannot be carried; when the
                result is asked for. It is of the class of that exception too, so `except ValueError` works.
        """
        payload = self._payload(args, kwargs)
        sandbox = self._session.sandbox(**self._options)
        path = f"{self._temp_dir}/ebbtide-{secrets.token_hex(8)}"
        sent, answer = f"{path}-call.json", f"{path}-answer.json"
        command = ["python3", "-c", _PROGRAM, sent, answer]
        return sandbox._needed(lambda: sandbox._core.call(sent, payload, command, answer), self._answered)

    def map(self, calls: Iterable[tuple[Any, ...]]) -> list[OperationRef[R]]:
        """Runs it once for each tuple of arguments, all at the same time.

        Args:
            calls: The arguments of each call, as a tuple.

        Returns:
            An operation for each call, in order.
        """
        every = list(calls)
        for position, call in enumerate(every):
            if not isinstance(call, tuple):
                raise TypeError(
                    f"map() takes a tuple of arguments for each call, and calls[{position}] is {type(call).__name__}; "
                    f"for one argument write ({call!r},)"
                )
        return [self.remote(*call) for call in every]  # type: ignore[call-arg]

    def local(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs it here, as if it were not decorated."""
        return self._function(*args, **kwargs)

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        captured = _capture.Captured(self._function)
        for name, value in captured.values.items():
            self._check(f"the variable {name!r}", value)
        for position, value in enumerate(args):
            self._check(f"argument {position}", value)
        for name, value in kwargs.items():
            self._check(f"argument {name!r}", value)
        payload = {
            "serialization": self._kind,
            "name": captured.name,
            "file": captured.file,
            "source": captured.source,
            "sources": captured.sources,
            "imports": captured.imports,
            "values": self._carried(captured.values),
            "arguments": self._carried((list(args), kwargs)),
        }
        return json.dumps(payload).encode()

    def _check(self, what: str, value: Any) -> None:
        """Says what cannot be carried, by its name."""
        of = f"{what} of {self._function.__qualname__}()"
        try:
            self._carried(value)
        except Exception as error:
            other = "" if self._kind == "pickle" else "; give what JSON has, or use function(serialization='pickle')"
            raise TypeError(
                f"{of} is {type(value).__name__}, which {self._kind} cannot carry ({error}){other}"
            ) from None
        if self._kind == "json":
            _check_keys(of, value)

    def _carried(self, value: Any) -> Any:
        if self._kind == "pickle":
            return base64.b64encode(pickle.dumps(value, protocol=4)).decode("ascii")
        return json.loads(json.dumps(value))

    def _answered(self, outcome: Any) -> R:
        described, said = outcome
        result = ProcessResult.of(*described)
        answer = None if said is None else json.loads(said)
        if answer is None:
            words = result.stderr.strip().splitlines()[-1:] or [f"exit code {result.returncode}"]
            raise SandboxExecutionError(
                f"{self._function.__qualname__}() left no answer: {words[0]}", exec_result=result
            )
        if "error" in answer:
            raise remote_error(answer["error"], result)
        if "unsendable" in answer:
            raise SandboxExecutionError(
                f"{self._function.__qualname__}() returned {answer['unsendable']}, which {self._kind} cannot carry: "
                f"{answer['why']}",
                exec_result=result,
            )
        value: R = answer["value"]
        if self._kind == "pickle":
            value = pickle.loads(base64.b64decode(answer["value"]))
        return value


def _check_keys(of: str, value: Any) -> None:
    """JSON has no keys but strings, and would change others without a word."""
    if isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str):
                raise TypeError(f"{of} has the key {key!r}, and JSON has no keys but strings")
            _check_keys(of, item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_keys(of, item)
