"""Exceptions of a function that ran in a sandbox, as exceptions of this process."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Optional

from ebbtide._process import ProcessResult
from ebbtide.exceptions import SandboxExecutionError


def remote_error(described: Mapping[str, Any], result: ProcessResult) -> SandboxExecutionError:
    """The exception that the function raised: a `SandboxExecutionError`, and of its own class where that is known."""
    known = _class(described["module"], described["type"])
    details = {
        "exec_result": result,
        "exception_type": described["type"],
        "exception_message": described["message"],
        "remote_traceback": described["traceback"],
    }
    if known is None:
        return SandboxExecutionError(f"{described['type']}: {described['message']}", **details)
    return _made(known, tuple(described["args"]), details)


def _class(module: str, name: str) -> Optional[type[Exception]]:
    """The class of that name. Only what is here already: a sandbox does not choose what is imported."""
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found if isinstance(found, type) and issubclass(found, Exception) else None


def _made(known: type[Exception], args: tuple[Any, ...], details: Mapping[str, Any]) -> SandboxExecutionError:
    """An exception of both classes. What is special about the first one's making is left out."""

    def described(self: SandboxExecutionError) -> str:
        said = known.__str__(self)
        return f"{said}\n\nIn the sandbox:\n{self.remote_traceback}" if self.remote_traceback else said

    def reduced(self: SandboxExecutionError) -> tuple[Any, ...]:
        return _restored, (known, self.args, dict(self.__dict__))

    members = {"__str__": described, "__reduce__": reduced, "__module__": known.__module__}
    bases = (SandboxExecutionError,) if issubclass(SandboxExecutionError, known) else (SandboxExecutionError, known)
    both: type[SandboxExecutionError] = type(known.__name__, bases, members)
    error = both.__new__(both, *args)
    SandboxExecutionError.__init__(error, **details)
    error.args = args
    return error


def _restored(known: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> SandboxExecutionError:
    error = _made(known, args, {})
    error.__dict__.update(state)
    return error
