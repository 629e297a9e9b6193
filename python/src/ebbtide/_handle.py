"""What is known of a sandbox, and how its calls reach the core."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any, Callable, Optional

from ebbtide import _cleanup, _native
from ebbtide._operation import OperationRef, Waitable
from ebbtide._ownership import Ownership
from ebbtide._status import SandboxStatus


class Handle(Waitable):
    """The core's handle of one sandbox, and what was last heard of it."""

    def _hold(self, core: _native.Sandbox, timeout: float, *, owned: bool) -> None:
        self._core = core
        self._timeout = timeout
        # Whether it is to end with this process.
        self._owned = owned
        # Whether a session ends it, so that its handle may be lost.
        self._in_session = False
        # The stop that was asked for first; all others are the same.
        self._stopping: Optional[OperationRef[None]] = None
        self._ownership: Optional[Ownership] = None
        self._pid = os.getpid()

    @property
    def sandbox_id(self) -> Optional[str]:
        """Its id; `None` until it was started."""
        return self._core.id()

    @property
    def status(self) -> Optional[SandboxStatus]:
        """Where it is in its life, as last heard of; `None` until it was started. Asks nobody: see `get_status()`."""
        info = self._info()
        return None if info is None else SandboxStatus.of(info["state"])

    @property
    def status_updated_at(self) -> Optional[datetime]:
        """When that was heard."""
        return self._time("seen_at")

    @property
    def status_reason(self) -> Optional[str]:
        """Why it ended or is ending, e.g. `"main_exited"`, or what it waits for."""
        known: Optional[str] = self._known("reason")
        return known

    @property
    def returncode(self) -> Optional[int]:
        """The exit code of its main command, once that is known."""
        known: Optional[int] = self._known("exit_code")
        return known

    @property
    def container_image(self) -> Optional[str]:
        """Its image."""
        known: Optional[str] = self._known("image")
        return known

    @property
    def tags(self) -> Optional[list[str]]:
        """The words to find it by."""
        known: Optional[list[str]] = self._known("tags")
        return known

    @property
    def annotations(self) -> Optional[dict[str, str]]:
        """Free strings by string."""
        known: Optional[dict[str, str]] = self._known("annotations")
        return known

    @property
    def runner_id(self) -> Optional[str]:
        """The runner that runs it."""
        known: Optional[str] = self._known("runner_id")
        return known

    @property
    def resource_limits(self) -> Optional[dict[str, str]]:
        """What it may not exceed: `cpu` and `memory`."""
        known: Optional[dict[str, str]] = self._known("limits")
        return known

    @property
    def max_lifetime_seconds(self) -> Optional[float]:
        """How long it may live, in seconds."""
        known: Optional[float] = self._known("max_lifetime")
        return known

    @property
    def created_at(self) -> Optional[datetime]:
        """When it was asked for."""
        return self._time("created_at")

    @property
    def started_at(self) -> Optional[datetime]:
        """When it began to run."""
        return self._time("started_at")

    @property
    def ended_at(self) -> Optional[datetime]:
        """When everything that it held was released; of one that was kept, when its main command ended."""
        return self._time("ended_at")

    @property
    def files_until(self) -> Optional[datetime]:
        """Of one that was kept after its main command's end: until when files can be read and commands run."""
        return self._time("files_until")

    def get_status(self) -> SandboxStatus:
        """Asks the daemon where it is in its life, and waits for the answer. What has ended is not asked for again.

        Raises:
            SandboxNotRunningError: It was never started.
            EbbtideError: The daemon cannot be asked.
        """
        self._ref(self._core.status).result()
        status = self.status
        return SandboxStatus.UNSPECIFIED if status is None else status

    def __repr__(self) -> str:
        info = self._info() if self._pid == os.getpid() else None
        if info is None:
            return "<Sandbox (not started)>"
        return f"<Sandbox {self.sandbox_id} ({info['state']})>"

    def _prepare(self) -> None:
        """Whatever comes next may start it."""
        if self._owned:
            _cleanup.expect()

    def _needed(
        self, begin: Callable[[], _native.Operation], convert: Optional[Callable[[Any], Any]] = None
    ) -> OperationRef[Any]:
        self._prepare()
        return self._ref(begin, convert)

    def _ref(
        self, begin: Callable[[], _native.Operation], convert: Optional[Callable[[Any], Any]] = None
    ) -> OperationRef[Any]:
        return OperationRef(begin(), convert, sandbox_id=self.sandbox_id)

    def _waited_for(self) -> _native.Operation:
        self._prepare()
        return self._core.wait(None)

    def _adopted(self) -> None:
        self._core.own()
        self._owned = self._in_session = True

    def _info(self) -> Optional[dict[str, Any]]:
        return self._core.info()

    def _known(self, name: str) -> Any:
        info = self._info()
        return None if info is None else info[name]

    def _time(self, name: str) -> Optional[datetime]:
        seconds = self._known(name)
        return None if seconds is None else datetime.fromtimestamp(seconds, tz=timezone.utc)
