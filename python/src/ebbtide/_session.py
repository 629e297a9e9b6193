"""Sandboxes that belong together."""

from __future__ import annotations

import builtins
import logging
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, Union, overload

from ebbtide import _arguments, _cleanup, _errors, _fork, _native
from ebbtide._defaults import SandboxDefaults
from ebbtide._function import KINDS, RemoteFunction
from ebbtide._keywords import check_keywords, selection
from ebbtide._operation import OperationRef
from ebbtide._options import Wanted, defaults_of
from ebbtide._sandbox import Sandbox
from ebbtide._status import SandboxStatus

if TYPE_CHECKING:
    from ebbtide._function import P, R
    from ebbtide._options import SandboxOptions, Unpack

_log = logging.getLogger("ebbtide")


class Session:
    """Sandboxes that are made alike and end together.

    Args:
        defaults: What its sandboxes are to be like: `SandboxDefaults` or a dictionary of the same names.
        **options: The same, as keywords; laid over `defaults`.

    Raises:
        TypeError: A keyword is unknown, or a value of a wrong type.
        ValueError: A value is out of range.

    Examples:
        >>> with Session(SandboxDefaults(container_image="python:3.11")) as session:
        ...     first, second = session.sandbox(), session.sandbox()
        ...     first.exec(["echo", "1"]).result(), second.exec(["echo", "2"]).result()
    """

    def __init__(
        self,
        defaults: Union[SandboxDefaults, Mapping[str, Any], None] = None,
        report_to: Optional[Sequence[str]] = None,
        **options: Any,
    ) -> None:
        # Metrics for other services are not Ebbtide's business.
        if report_to:
            _arguments.texts("report_to", report_to)
            _log.warning("report_to=%r means nothing here: Ebbtide reports to nobody", report_to)
        names = SandboxDefaults._names()
        _arguments.known("Session()", options, (*names, "defaults"), missing=_missing())
        given = {name: value for name, value in options.items() if value is not None}
        self._defaults = defaults_of(defaults).with_overrides(**given)
        _fork.check()
        self._inner = _native.Session(self._defaults.base_url)

    @property
    def defaults(self) -> SandboxDefaults:
        """What its sandboxes are like."""
        return self._defaults

    @property
    def sandbox_count(self) -> int:
        """How many sandboxes it has that were not stopped, started or not."""
        count: int = self._inner.sandbox_count()
        return count

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        closed: bool = self._inner.is_closed()
        return closed

    def sandbox(self, **options: Unpack[SandboxOptions]) -> Sandbox:
        """A sandbox as its defaults say, not started: the first call that needs it does that.

        Args:
            **options: As `Sandbox`; laid over the defaults.

        Raises:
            SandboxError: The session is closed.
            TypeError: A keyword is unknown, or a value of a wrong type.
            ValueError: A value is out of range.
        """
        given: dict[str, Any] = dict(options)
        if given.pop("defaults", None) is not None:
            raise TypeError("session.sandbox() has no argument 'defaults': the session's hold; give single values")
        return Sandbox._of_session(self, "session.sandbox()", given)

    def adopt(self, sandbox: Sandbox) -> None:
        """Takes over a sandbox that was made elsewhere and that nobody stands for.

        It ends with the session from now on, and with this process, by whatever cause.

        Raises:
            SandboxError: The session is closed.
            SandboxOwnedError: Somebody who lives has it, see its `owner`.
            ValueError: The sandbox was never started.
        """
        if not isinstance(sandbox, Sandbox):
            raise _arguments.wrong("sandbox", sandbox, "a Sandbox")
        if sandbox.sandbox_id is None and not self.closed:
            raise ValueError("a sandbox that was never started cannot be adopted; start it first")
        _cleanup.expect()
        OperationRef(self._inner.adopt(sandbox._core), sandbox_id=sandbox.sandbox_id).result()
        sandbox._adopted()

    def list(
        self,
        *,
        tags: Optional[Sequence[str]] = None,
        status: Union[SandboxStatus, str, None] = None,
        show_terminated: bool = False,
        orphaned: bool = False,
        adopt: bool = False,
        **other: Any,
    ) -> OperationRef[builtins.list[Sandbox]]:
        """The sandboxes that match and have the session's tags too.

        Args:
            tags: Only those that have all of these tags.
            status: Only those with this status, e.g. `"running"`.
            show_terminated: Ended ones too; `False` by default.
            orphaned: Only those whose owner is gone; `False` by default.
            adopt: Whether the session takes them; `False` by default.
        """
        check_keywords("session.list()", other, ("tags", "status", "show_terminated", "orphaned", "adopt"))
        words, state = selection(self._defaults.merge_tags(tags), status, show_terminated)
        _arguments.flag("orphaned", orphaned)
        take = self._taking(_arguments.flag("adopt", adopt))
        begun = self._inner.list(words, state, show_terminated, orphaned, adopt)
        return OperationRef(begun, lambda found: [take(core) for core in found])

    def from_id(self, sandbox_id: str, *, adopt: bool = True) -> OperationRef[Sandbox]:
        """The sandbox with this id, which ends with the session from now on.

        Args:
            sandbox_id: Its id.
            adopt: Whether the session takes it; `True` by default.

        Raises:
            SandboxNotFoundError: There is none; when the result is asked for.
        """
        _arguments.text("sandbox_id", sandbox_id)
        take = self._taking(_arguments.flag("adopt", adopt))
        begun = self._inner.find(sandbox_id) if adopt else _native.Sandbox.from_id(sandbox_id, self._defaults.base_url)
        return OperationRef(begun, take, sandbox_id=sandbox_id)

    def _taking(self, adopted: bool) -> Callable[[_native.Sandbox], Sandbox]:
        if not adopted:
            return Sandbox._found
        _cleanup.expect()

        def taken(core: _native.Sandbox) -> Sandbox:
            sandbox = Sandbox._found(core)
            sandbox._adopted()
            return sandbox

        return taken

    @overload
    def function(self, function: Callable[P, R], /) -> RemoteFunction[P, R]: ...

    @overload
    def function(
        self,
        /,
        *,
        serialization: str = "json",
        temp_dir: Optional[str] = None,
        **options: Unpack[SandboxOptions],
    ) -> Callable[[Callable[P, R]], RemoteFunction[P, R]]: ...

    def function(
        self,
        function: Optional[Callable[..., Any]] = None,
        /,
        *,
        serialization: str = "json",
        temp_dir: Optional[str] = None,
        **options: Unpack[SandboxOptions],
    ) -> Any:
        """A decorator: the function runs in sandboxes of this session, each call in a new one.

        Args:
            function: The function, for `@session.function` without arguments.
            serialization: How arguments, variables and results travel: `"json"` by default, or `"pickle"`. Whoever
                unpickles runs what the other side wrote: use it for functions that you trust.
            temp_dir: Where they lie in the sandbox; that of the defaults by default.
            **options: What its sandboxes are like, as `Sandbox`; laid over the session's defaults.

        Returns:
            A `RemoteFunction`, with `remote()`, `map()` and `local()`.

        Raises:
            AsyncFunctionError: The function is asynchronous.
            FunctionError: The function cannot be sent.
            SandboxError: The session is closed.

        Examples:
            >>> @session.function()
            ... def add(a, b):
            ...     return a + b
            >>> add.remote(1, 2).result()
            3
        """
        if serialization not in KINDS:
            raise ValueError(f"serialization is {serialization!r}; accepted: {', '.join(KINDS)}")
        given: dict[str, Any] = dict(options)
        place = self._defaults.temp_dir if temp_dir is None else _arguments.text("temp_dir", temp_dir)
        # What is wrong with the options shows here, and not with the first call.
        Wanted("session.function()", self._defaults, given)

        def decorate(decorated: Callable[P, R]) -> RemoteFunction[P, R]:
            return RemoteFunction(decorated, self, given, temp_dir=place, serialization=serialization)

        return decorate if function is None else decorate(function)

    def close(self) -> OperationRef[None]:
        """Stops all of its sandboxes at once and waits for their end. It is done also if nobody waits for it.

        May be called any number of times, and does not fail because a sandbox is gone already. What could not be
        stopped stays with the session and this process: another `close()` tries again, and so does the process when
        it ends.

        Raises:
            SandboxError: Some could not be stopped, see its `failures`; when the result is asked for.
        """
        _cleanup.expect()
        return OperationRef(self._inner.close())

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            self.close().result()
        except Exception as problem:
            _errors.after_block(error, problem, "a session was not closed")

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        try:
            await self.close()
        except Exception as problem:
            _errors.after_block(error, problem, "a session was not closed")

    def __repr__(self) -> str:
        return f"<Session ({'closed' if self.closed else f'{self.sandbox_count} sandboxes'})>"


def _missing() -> Mapping[str, str]:
    from ebbtide._defaults import MISSING

    return MISSING
