"""Something that goes on by itself, and waiting for it."""

from __future__ import annotations

import concurrent.futures
import select
import sys
import time
from collections.abc import Generator, Iterable, Sequence
from typing import Any, Callable, Generic, Optional, TypeVar, Union, cast, overload

from ebbtide import _arguments, _errors, _loop
from ebbtide._native import Notifier, Operation

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_Timeout: type[Exception] = TimeoutError
if sys.version_info < (3, 11):
    # There were two of that name.
    _Timeout = type("TimeoutError", (concurrent.futures.TimeoutError, TimeoutError), {})


def timed_out(what: str, timeout: Optional[float]) -> Exception:
    """The exception for a wait that was over before what it waited for."""
    return _Timeout(f"{what} was not over within {timeout} s; it goes on")


class OperationRef(Generic[T_co]):
    """Something that goes on by itself: wait for it with `result()`, or `await` it.

    It was begun by the call that returned this, and goes on whether or not anybody waits. Both ways of waiting may be
    used any number of times, from any thread and any event loop, and give the same.

    Examples:
        >>> ref = sandbox.write_file("/tmp/input", b"2 + 2")
        >>> ref.result(timeout=30)      # or, in a coroutine: await ref
    """

    __slots__ = ("__weakref__", "_convert", "_operation", "_sandbox_id", "_settled")

    def __init__(
        self,
        operation: Optional[Operation],
        convert: Optional[Callable[[Any], T_co]] = None,
        *,
        sandbox_id: Optional[str] = None,
    ) -> None:
        self._operation = operation
        self._convert = convert
        self._sandbox_id = sandbox_id
        # What came of it: one item, so that of two threads that ask at once the first one's counts.
        self._settled: dict[bool, Any] = {}

    @classmethod
    def _of(cls, value: T) -> OperationRef[T]:
        """One that is over and has come to this."""
        ref: OperationRef[T] = OperationRef(None)
        ref._settled[True] = value
        return ref

    @classmethod
    def _failed(cls, error: BaseException) -> OperationRef[Any]:
        """One that has failed."""
        ref: OperationRef[Any] = OperationRef(None)
        ref._settled[False] = error
        return ref

    def done(self) -> bool:
        """Whether it is over. Never waits."""
        return bool(self._settled) or self._operation is None or self._operation.done()

    def result(self, timeout: Optional[float] = None) -> T_co:
        """Waits until it is over and returns what has come of it.

        Other threads run meanwhile, and Ctrl-C works.

        Args:
            timeout: How many seconds to wait; without bound if `None`.

        Raises:
            TimeoutError: It is not over after `timeout` seconds. It goes on, and may be waited for again.
            EbbtideError: It has failed.
        """
        _arguments.number("timeout", timeout, optional=True)
        if not self._settled and self._operation is not None and not self._operation.wait(timeout):
            raise timed_out("this", timeout)
        return self._outcome()

    def __await__(self) -> Generator[Any, None, T_co]:
        if not self._settled and self._operation is not None:
            yield from _loop.over(self._operation).__await__()
        return self._outcome()

    def _outcome(self) -> T_co:
        """What has come of it, once it is over."""
        if not self._settled:
            self._settle()
        if True in self._settled:
            return cast(T_co, self._settled[True])
        error = self._settled[False]
        # Raised anew each time, so it does not pile up where it was raised before.
        raise error.with_traceback(None)

    def _settle(self) -> None:
        outcome = None if self._operation is None else self._operation.outcome()
        if outcome is None:
            raise RuntimeError("an operation that goes on has no outcome yet")
        succeeded, value = outcome
        try:
            if not succeeded:
                raise _errors.error(value, sandbox_id=self._sandbox_id)
            settled, said = True, value if self._convert is None else self._convert(value)
        except Exception as error:
            settled, said = False, error
        if not self._settled:
            self._settled[settled] = said


class Waitable:
    """What `wait()` can wait for although it is no operation itself."""

    def _waited_for(self) -> Operation:
        raise NotImplementedError


@overload
def results(refs: OperationRef[T], /) -> T: ...


@overload
def results(refs: Iterable[OperationRef[T]], /) -> list[T]: ...


def results(refs: Union[OperationRef[Any], Iterable[OperationRef[Any]]], /) -> Any:
    """Waits for one operation or for several, and returns what has come of it, or of them in order.

    Args:
        refs: One operation, or any number of them.

    Raises:
        EbbtideError: One has failed; the first in order. The others go on.

    Examples:
        >>> results([sandbox.stop() for sandbox in sandboxes])
    """
    if isinstance(refs, OperationRef):
        return refs.result()
    every = list(refs)
    for ref in every:
        if not isinstance(ref, OperationRef):
            raise TypeError(f"results() waits for operations, not for {type(ref).__name__}")
    return [ref.result() for ref in every]


W = TypeVar("W", bound=Union[OperationRef[Any], Waitable])


def wait(
    waitables: Sequence[W], num_returns: Optional[int] = None, timeout: Optional[float] = None
) -> tuple[list[W], list[W]]:
    """Waits for some of several operations, commands, terminals or sandboxes.

    A sandbox is waited for until commands can be run in it. What fails counts as done; its error comes with its
    result.

    Args:
        waitables: What to wait for.
        num_returns: How many to wait for; all if `None`.
        timeout: How many seconds to wait; without bound if `None`.

    Returns:
        Those that are done, at most `num_returns` of them, and the others, both in order.

    Examples:
        >>> done, pending = wait(processes, num_returns=1, timeout=10)
    """
    every = list(waitables)
    wanted = len(every) if num_returns is None else num_returns
    if wanted < 1 and (every or num_returns is not None):
        raise ValueError(f"num_returns is {num_returns}; it must be at least 1")
    operations = [_operation(waitable) for waitable in every]
    deadline = None if timeout is None else time.monotonic() + timeout
    over = _wait_for(operations, min(wanted, len(every)), deadline)
    done = [waitable for waitable, is_over in zip(every, over) if is_over][:wanted]
    kept = {id(waitable) for waitable in done}
    return done, [waitable for waitable in every if id(waitable) not in kept]


def _operation(waitable: object) -> Optional[Operation]:
    if isinstance(waitable, Waitable):
        return waitable._waited_for()
    if isinstance(waitable, OperationRef):
        return waitable._operation
    raise TypeError(f"wait() waits for operations and sandboxes, not for {type(waitable).__name__}")


def _wait_for(operations: Sequence[Optional[Operation]], wanted: int, deadline: Optional[float]) -> list[bool]:
    """Which are over, once so many are or the time is."""
    any_over = _Any()
    for operation in operations:
        if operation is not None:
            any_over.add(operation)
    while True:
        over = [operation is None or operation.done() for operation in operations]
        if sum(over) >= wanted or not any_over.wait(deadline):
            return over


class _Any:
    """Waits for whichever of several operations is over next."""

    def __init__(self) -> None:
        self._notifier = Notifier()
        self._number = 0

    def add(self, operation: Operation) -> None:
        self._number += 1
        operation.watch(self._notifier, self._number)

    def wait(self, deadline: Optional[float]) -> bool:
        """Whether something more is over; not if the time is."""
        poll = select.poll()
        poll.register(self._notifier.fileno(), select.POLLIN)
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        # A signal is looked at by itself here.
        if not poll.poll(None if left is None else left * 1000):
            return False
        self._notifier.drain()
        return True
