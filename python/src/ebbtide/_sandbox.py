"""One sandbox."""

from __future__ import annotations

import builtins
import logging
import os
import sys
import warnings
from collections.abc import Generator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional, Union

from ebbtide import _arguments, _cleanup, _errors, _fork, _native
from ebbtide._defaults import REQUEST_TIMEOUT, SandboxDefaults
from ebbtide._inside import Inside
from ebbtide._keywords import check_keywords, selection
from ebbtide._operation import OperationRef
from ebbtide._options import Wanted, defaults_of
from ebbtide._ownership import Ownership, Receipt, SandboxDescription
from ebbtide._status import SandboxStatus
from ebbtide.exceptions import SnapshotNotSupportedError, SnapshotOnStopConflictError

if TYPE_CHECKING:
    from ebbtide._options import SandboxOptions, Unpack
    from ebbtide._session import Session

_log = logging.getLogger("ebbtide")

_GRACE = 10.0


class Sandbox(Inside):
    """A sandbox: make one, run commands in it, and stop it.

    `Sandbox.run()` makes one. Everything that needs it to run waits for that by itself. What takes time returns an
    `OperationRef` at once: wait for it with `.result()`, or `await` it in a coroutine. The sandbox ends with its
    `with` block, by `stop()`, with its main command, when its lifetime is over, and at the latest with this process.

    `Sandbox(...)` takes the same keywords and asks nobody: the first call that needs the sandbox makes it.

    Args:
        command: The program of the main command, with which the sandbox ends; without one it idles.
        args: Its arguments.
        defaults: What holds where the other keywords say nothing; see `SandboxDefaults`.
        container_image: The image, e.g. `"python:3.11"`; the daemon's own by default.
        tags: Words to find it by, after those of the defaults.
        environment_variables: The environment of its commands, laid over that of the defaults.
        annotations: Free strings by string, laid over those of the defaults.
        resources: What it may use: `ResourceOptions`, or a dictionary such as `{"cpu": "1", "memory": "1Gi"}`.
        working_dir: The directory that its commands start in.
        mounted_files: Files that it has from the beginning: `{"mount_path": ..., "file_content": ...}` each.
        runner_ids: The runners that may run it; none at all clears those of the defaults.
        max_lifetime_seconds: How long it may live, in whole seconds; the daemon's choice by default.
        request_timeout_seconds: How long it may take to start, and how long its end is waited for; 300 s by default.
        base_url: The daemon's address; otherwise the environment names it.
        detach: Whether it lives on when this process ends: nobody owns it, and its lifetime ends it.
        orphan_grace_seconds: How long it lives on after this process, in whole seconds, for others to adopt it; 60 by
            default.
        keep: When an end that nobody asked for by name spares it (that of a block, a session, this process): `"never"`,
            `"on_failure"`, `"always"` or `"attached"`; never by default. `EBBTIDE_KEEP_SANDBOX` overrides it.
        keep_for_seconds: For how long it is kept then, in whole seconds; 3600 by default.
        keep_as: What is kept: `"running"`, `"paused"` or `"files"`; paused by default.
        idle_timeout_seconds: After how long without use it is idle, in whole seconds; never by default.
        on_idle: What becomes of it then: `"stop"` or `"pause"`; it ends by default.

    Raises:
        TypeError: A keyword is unknown, or a value of a wrong type.
        ValueError: A value is out of range.

    Examples:
        >>> with Sandbox.run() as sandbox:
        ...     print(sandbox.exec(["echo", "hello"]).result().stdout)
        hello
    """

    def __init__(self, **options: Unpack[SandboxOptions]) -> None:
        self._make("Sandbox()", None, dict(options))

    def _make(self, function: str, session: Optional[Session], options: dict[str, Any]) -> None:
        defaults = defaults_of(options.pop("defaults", None)) if session is None else session._defaults
        wanted = Wanted(function, defaults, options)
        inner = None if session is None else session._inner
        _fork.check()
        core = _native.Sandbox(wanted.spec, inner, wanted.base_url)
        self._hold(core, wanted.request_timeout, owned=not wanted.detach)
        self._in_session = session is not None

    @classmethod
    def _found(cls, core: _native.Sandbox) -> Sandbox:
        """One that was there already."""
        sandbox = cls.__new__(cls)
        sandbox._hold(core, REQUEST_TIMEOUT, owned=False)
        return sandbox

    @classmethod
    def _of_session(cls, session: Session, function: str, options: dict[str, Any]) -> Sandbox:
        sandbox = cls.__new__(cls)
        sandbox._make(function, session, options)
        return sandbox

    # --- making and finding -----------------------------------------------------------------------------------------

    @classmethod
    def run(cls, *main_command: str, **options: Unpack[SandboxOptions]) -> Sandbox:
        """Makes a sandbox. It is on record when this returns, and being made; whatever needs it waits for that.

        Args:
            *main_command: Its main command: a program and its arguments.
            **options: As `Sandbox`.

        Raises:
            TypeError: A keyword is unknown, or a value of a wrong type.
            ValueError: A value is out of range.
            DaemonError: There is no daemon and none could be started.
            EbbtideError: The daemon refuses.

        Examples:
            >>> sandbox = Sandbox.run("python3", "-m", "http.server", container_image="python:3.11")
        """
        given: dict[str, Any] = dict(options)
        if main_command:
            words = _arguments.texts("the main command", main_command)
            for name in ("command", "args"):
                if given.get(name) is not None and (name == "command" or len(words) > 1):
                    raise TypeError(f"Sandbox.run() got the main command twice, by position and as {name!r}")
            given["command"] = words[0]
            if len(words) > 1:
                given["args"] = words[1:]
        sandbox = cls.__new__(cls)
        sandbox._make("Sandbox.run()", None, given)
        sandbox.start().result()
        return sandbox

    @classmethod
    def session(cls, defaults: Union[SandboxDefaults, Mapping[str, Any], None] = None, **options: Any) -> Session:
        """A session: sandboxes that are made alike and end together. The same as `Session(...)`."""
        from ebbtide._session import Session

        return Session(defaults, **options)

    @classmethod
    def list(
        cls,
        *,
        tags: Optional[Sequence[str]] = None,
        status: Union[SandboxStatus, str, None] = None,
        show_terminated: bool = False,
        orphaned: bool = False,
        base_url: Optional[str] = None,
        **other: Any,
    ) -> OperationRef[builtins.list[Sandbox]]:
        """The sandboxes that match. They belong to whoever made them: they do not end with this process.

        Args:
            tags: Only those that have all of these tags.
            status: Only those with this status, e.g. `"running"`, also if it is that of an end.
            show_terminated: Ended ones too; `False` by default.
            orphaned: Only those whose owner is gone, which `adopt()` takes over; `False` by default.
            base_url: The daemon's address; otherwise the environment names it.

        Examples:
            >>> for orphan in Sandbox.list(tags=["my-project"], orphaned=True).result():
            ...     orphan.stop().result()
        """
        check_keywords("Sandbox.list()", other, ("tags", "status", "show_terminated", "orphaned", "base_url"))
        words, state = selection(tags, status, show_terminated)
        _fork.check()
        begun = _native.Sandbox.list(words, state, show_terminated, _arguments.flag("orphaned", orphaned), base_url)
        return OperationRef(begun, lambda found: [cls._found(core) for core in found])

    @classmethod
    def from_id(cls, sandbox_id: str, *, base_url: Optional[str] = None, **other: Any) -> OperationRef[Sandbox]:
        """The sandbox with this id. It belongs to whoever made it: it does not end with this process.

        Args:
            sandbox_id: Its id.
            base_url: The daemon's address; otherwise the environment names it.

        Raises:
            SandboxNotFoundError: There is none; when the result is asked for.
        """
        check_keywords("Sandbox.from_id()", other, ("base_url",))
        _arguments.text("sandbox_id", sandbox_id)
        _fork.check()
        begun = _native.Sandbox.from_id(sandbox_id, base_url)
        return OperationRef(begun, cls._found, sandbox_id=sandbox_id)

    @classmethod
    def delete(
        cls, sandbox_id: str, *, missing_ok: bool = False, base_url: Optional[str] = None, **other: Any
    ) -> OperationRef[None]:
        """Ends a sandbox of which only the id is known, at once. It is done also if nobody waits for it.

        Args:
            sandbox_id: Its id.
            missing_ok: Whether one that is not there is no failure; `False` by default.
            base_url: The daemon's address; otherwise the environment names it.

        Raises:
            SandboxNotFoundError: There is none; when the result is asked for.
        """
        check_keywords("Sandbox.delete()", other, ("missing_ok", "base_url"))
        _arguments.text("sandbox_id", sandbox_id)
        _arguments.flag("missing_ok", missing_ok)
        _fork.check()
        _cleanup.expect()
        begun = _native.Sandbox.delete(sandbox_id, missing_ok, base_url)
        return OperationRef(begun, sandbox_id=sandbox_id)

    def start(self) -> OperationRef[None]:
        """Asks for it, if that was not done yet. Any number of calls make one sandbox.

        Raises:
            SandboxNotRunningError: It was stopped before it was started; when the result is asked for.
            EbbtideError: The daemon cannot be reached or refuses; when the result is asked for.
        """
        return self._needed(self._core.start)

    def wait(self, timeout: Optional[float] = None) -> Sandbox:
        """Waits until commands can be run in it, or it has ended after it ran. Starts it if need be.

        Args:
            timeout: How many seconds to wait; `request_timeout_seconds` if `None`.

        Returns:
            The sandbox.

        Raises:
            SandboxFailedError: It could not be made.
            SandboxTerminatedError: Somebody ended it.
            SandboxTimeoutError: It takes longer. It goes on.
        """
        limit = _arguments.seconds("timeout", timeout, optional=True, zero=True)
        self._needed(lambda: self._core.wait(limit)).result()
        return self

    def __await__(self) -> Generator[Any, None, Sandbox]:
        yield from self._needed(lambda: self._core.wait(None)).__await__()
        return self

    def wait_until_complete(
        self, timeout: Optional[float] = None, *, raise_on_termination: bool = True
    ) -> OperationRef[Sandbox]:
        """Waits until it has ended and everything that it held is released; `returncode` is known then.

        Args:
            timeout: How many seconds to wait; `request_timeout_seconds` if `None`.
            raise_on_termination: Whether another end than that of its main command is an error; `True` by default.

        Raises:
            SandboxFailedError: It could not be made; when the result is asked for.
            SandboxTerminatedError: Somebody ended it; when the result is asked for.
            SandboxTimeoutError: It takes longer. It goes on.

        Examples:
            >>> job = Sandbox.run("sh", "-c", "exit 7")
            >>> job.wait_until_complete(timeout=60).result().returncode
            7
        """
        given = _arguments.seconds("timeout", timeout, optional=True, zero=True)
        limit = self._timeout if given is None else given
        _arguments.flag("raise_on_termination", raise_on_termination)
        return self._needed(lambda: self._core.wait_until_complete(limit, raise_on_termination), lambda _: self)

    def stop(
        self,
        *,
        graceful_shutdown_seconds: float = _GRACE,
        snapshot_on_stop: bool = False,
        missing_ok: bool = False,
        **other: Any,
    ) -> OperationRef[None]:
        """Ends it and waits until everything that it held is released. It is done also if nobody waits for it.

        May be called any number of times, from any thread: all wait for the same end, which the first call's options
        decide. One that has ended already is no failure; one that was never started cannot be started any more.

        Args:
            graceful_shutdown_seconds: How long its commands have after SIGTERM before SIGKILL; 10 s by default.
            snapshot_on_stop: Whether to make a snapshot of its files.
            missing_ok: Whether one that is not there is no failure; `False` by default.

        Raises:
            SandboxNotFoundError: There is no such sandbox; when the result is asked for.
            SnapshotOnStopConflictError: A snapshot was asked for, and the sandbox is ending or has ended without one.
            SnapshotNotSupportedError: A snapshot was asked for, and the daemon has none. The sandbox goes on.
            EbbtideError: It could not be stopped. It is tried again when this process ends.
        """
        check_keywords(
            "Sandbox.stop()",
            other,
            ("graceful_shutdown_seconds", "snapshot_on_stop", "missing_ok"),
            also=("wait_for_ready", "request_id"),
        )
        grace = _arguments.seconds("graceful_shutdown_seconds", graceful_shutdown_seconds, zero=True)
        _arguments.flag("missing_ok", missing_ok)
        if _arguments.flag("snapshot_on_stop", snapshot_on_stop):
            return OperationRef._failed(self._snapshot_refused())
        _cleanup.expect()
        _log.debug("stopping %r", self)
        stopping = self._ref(lambda: self._core.stop(grace, missing_ok))
        self._stopping = self._stopping or stopping
        return stopping

    def _snapshot_refused(self) -> Exception:
        status = self.status
        if self._stopping is not None or status is None or status.is_terminal:
            return SnapshotOnStopConflictError(
                f"{self!r} is ending or has ended without a snapshot; ask for the snapshot with the first stop()"
            )
        return SnapshotNotSupportedError(
            f"this daemon has no snapshots, so {self!r} was not stopped; stop it without one"
        )

    def detach(self) -> None:
        """Lets it live on when this process ends: nobody owns it any more, and its lifetime ends it.

        Raises:
            SandboxNotRunningError: It was never started, or has ended.
            EbbtideError: The daemon cannot be asked.
        """
        self._ref(self._core.detach).result()
        self._owned = False
        self._core.forget()

    def adopt(self) -> None:
        """Takes it over: it ends with this process from now on, as one does that was made here.

        Of two processes that try, one wins. One's own is no failure.

        Raises:
            SandboxOwnedError: Somebody who lives has it, see its `owner`.
            EbbtideError: The daemon cannot be asked.

        Examples:
            >>> for orphan in Sandbox.list(orphaned=True).result():
            ...     orphan.adopt()
        """
        _cleanup.expect()
        self._ref(self._core.adopt).result()
        self._core.own()
        self._owned = True

    def pause(self) -> OperationRef[SandboxDescription]:
        """Freezes what runs in it: its memory stays, its deadlines go on, and nothing can be run in it.

        Raises:
            SandboxNotRunningError: It does not run; when the result is asked for.
        """
        return self._ref(self._core.pause, self._described)

    def resume(self) -> OperationRef[SandboxDescription]:
        """Goes on with what was frozen. One that runs is no failure.

        Raises:
            SandboxNotRunningError: It has ended; when the result is asked for.
        """
        return self._ref(self._core.resume, self._described)

    def describe(self) -> OperationRef[SandboxDescription]:
        """All that is known of it: who owns it, what keeps it alive, when and why it will end or has.

        Raises:
            SandboxNotRunningError: It was never started; when the result is asked for.

        Examples:
            >>> sandbox.describe().result().ownership.kind
            'owned'
        """
        return self._ref(self._core.describe, self._described)

    def why(self) -> str:
        """The same in plain words, a sentence a line. Waits for the daemon's answer."""
        return self.describe().result().words

    def receipt(self) -> OperationRef[Receipt]:
        """What its end released, and what was left: nothing.

        Raises:
            ReceiptUnavailableError: It has not ended, or nobody saw its end; when the result is asked for.

        Examples:
            >>> sandbox.stop().result()
            >>> sandbox.receipt().result().left
            []
        """
        return self._ref(self._core.receipt, Receipt.of)

    @property
    def ownership(self) -> Optional[Ownership]:
        """Who owns it, as `describe()`, `pause()` or `resume()` last heard; `None` before. Asks nobody."""
        return self._ownership

    def _described(self, said: Mapping[str, Any]) -> SandboxDescription:
        described = SandboxDescription.of(said)
        self._ownership = described.ownership
        return described

    def __enter__(self) -> Sandbox:
        self.start().result()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if not self._is_over():
            try:
                self._stop_at_end().result()
            except Exception as problem:
                # It stays with the process, which tries again.
                _errors.after_block(error, problem, f"{self!r} was not stopped")

    async def __aenter__(self) -> Sandbox:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        traceback: Optional[TracebackType],
    ) -> None:
        if not self._is_over():
            try:
                await self._stop_at_end()
            except Exception as problem:
                # It stays with the process, which tries again.
                _errors.after_block(error, problem, f"{self!r} was not stopped")

    def _stop_at_end(self) -> OperationRef[None]:
        """Ends it as its block does: it may be kept."""
        _cleanup.expect()
        stopping = self._ref(lambda: self._core.stop(_GRACE, True, True))
        self._stopping = self._stopping or stopping
        return stopping

    def _is_over(self) -> bool:
        status = self.status
        return status is not None and status.is_terminal

    def __del__(self) -> None:
        """Whoever loses the last handle of a sandbox that runs should know."""
        if sys.is_finalizing() or not getattr(self, "_owned", False) or self._pid != os.getpid():
            return
        if not self._in_session and self._stopping is None and self._core.id() is not None and not self._is_over():
            warnings.warn(
                f"{self!r} was not stopped; it runs until this process ends. Use it in a `with` block, or call stop()",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
