"""What can go wrong, as classes.

Every error of a sandbox is an `EbbtideError` and says what happened, to what, and what to do. Arguments of a wrong
type are a `TypeError`, values out of range a `ValueError`, a wait that was over a `TimeoutError`, as everywhere in
Python.

The names that begin with `CWSandbox` and `Aviato` are the same classes, as the guides call them or have called them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from ebbtide._process import ProcessResult


class EbbtideError(Exception):
    """The base of all errors about sandboxes.

    Attributes:
        reason: The machine-readable reason that the daemon gave, e.g. `"CWSANDBOX_FILE_NOT_FOUND"`, or the code of a
            command that could not be run, e.g. `"COMMAND_NOT_FOUND"`; `None` if there is none.
        metadata: What the daemon sent with the reason, as strings by key; empty if nothing.
        retry_delay: When it makes sense to try again, if the daemon said so.
        code: The gRPC status of the call, e.g. `"NotFound"`; `None` for what was noticed in this process.
        request_id: What the daemon's log calls the request that failed; `None` if no request did.
    """

    def __init__(
        self,
        message: str = "",
        *,
        reason: Optional[str] = None,
        metadata: Optional[Mapping[str, str]] = None,
        retry_delay: Optional[timedelta] = None,
        code: Optional[str] = None,
        request_id: Optional[str] = None,
        **details: Any,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.metadata: dict[str, str] = dict(metadata or {})
        self.retry_delay = retry_delay
        self.code = code
        self.request_id = request_id
        for name, value in details.items():
            if not hasattr(type(self), name):
                raise TypeError(f"{type(self).__name__} has no attribute {name!r}")
            setattr(self, name, value)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travels between processes with everything that it holds."""
        return (_restored, (type(self), self.args, dict(self.__dict__)))


def _restored(kind: type[EbbtideError], args: tuple[Any, ...], state: dict[str, Any]) -> EbbtideError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that was refused.

    Attributes:
        field: Its name.
        description: What is wrong with it, and what is accepted.
    """

    field: str = ""
    description: str = ""


class AuthenticationError(EbbtideError):
    """Nobody knows who asks, or whoever asks may not do this."""


class ValidationError(EbbtideError):
    """The daemon refused some of what was asked for.

    Attributes:
        field_violations: Which fields, and why.
    """

    field_violations: Sequence[FieldViolation] = ()


class DaemonError(EbbtideError):
    """There is no daemon that could do it, and none could be started."""


class DiscoveryError(EbbtideError):
    """Runners could not be asked for."""


class DiscoveryValidationError(DiscoveryError, ValidationError):
    """What was asked about runners was refused."""


class RunnerNotFoundError(DiscoveryError):
    """There is no such runner.

    Attributes:
        runner_id: Its id.
    """

    runner_id: Optional[str] = None


class ProfileNotFoundError(DiscoveryError):
    """There is no such profile."""


class FunctionError(EbbtideError):
    """A function cannot be run in a sandbox."""


class AsyncFunctionError(FunctionError):
    """A function that is to be run in a sandbox must not be asynchronous."""


class SandboxError(EbbtideError):
    """Something went wrong with a sandbox.

    Attributes:
        failures: Of a session that could not stop all of its sandboxes: the id of each, and why. Empty otherwise.
    """

    failures: Sequence[tuple[str, EbbtideError]] = ()


class SandboxExecutionError(SandboxError):
    """A command could not be run, was given up, or returned another code than 0 although it was checked.

    Attributes:
        exec_result: What the command wrote and returned, if it ran to its end.
        exception_type: Of a function: the class of the exception that it raised.
        exception_message: Of a function: what that exception said.
        remote_traceback: Of a function: where in the sandbox it was raised.
    """

    exec_result: Optional[ProcessResult] = None
    exception_type: Optional[str] = None
    exception_message: Optional[str] = None
    remote_traceback: Optional[str] = None


class SandboxStreamBackpressureError(SandboxExecutionError):
    """The daemon gave up on a reader that was too slow. Ebbtide's own never does.

    Attributes:
        stream_code: The daemon's word for it.
    """

    stream_code: Optional[str] = None


class SandboxStreamTruncatedError(SandboxExecutionError):
    """A command wrote more than is kept for whoever does not read it as it comes.

    Attributes:
        stream_code: The daemon's word for it, if it was the daemon.
    """

    stream_code: Optional[str] = None


class SandboxFailedError(SandboxError):
    """The sandbox could not be made, or how it ended cannot be known.

    Attributes:
        sandbox_id: Its id.
        status_reason: Why, as its status says.
    """

    sandbox_id: Optional[str] = None
    status_reason: Optional[str] = None


class SandboxFileError(SandboxError):
    """A file of a sandbox could not be read or written.

    Attributes:
        filepath: Its path in the sandbox.
    """

    filepath: Optional[str] = None


class SandboxNotFoundError(SandboxError):
    """There is no such sandbox, or it was forgotten.

    Attributes:
        sandbox_id: The id that was asked for, if it is known.
    """

    sandbox_id: Optional[str] = None


class SandboxNotRunningError(SandboxError):
    """The sandbox does not run: it was never started, or it has ended."""


class SandboxPausedError(SandboxNotRunningError):
    """The sandbox is frozen: nothing can be run in it until `resume()`."""


class SandboxOwnedError(SandboxError):
    """Somebody who lives owns the sandbox, so it cannot be adopted.

    Attributes:
        owner: Who, in words.
        owned_since: Since when, if that is known.
    """

    owner: Optional[str] = None
    owned_since: Optional[datetime] = None


class ReceiptUnavailableError(SandboxError):
    """There is no receipt: the sandbox has not ended, or nobody saw what its end released."""


class SandboxUnavailableError(SandboxNotRunningError):
    """Nobody can answer at the moment. Trying again may help."""


class SandboxProtocolError(SandboxError):
    """The daemon said something that the protocol does not allow."""


class SandboxResourceExhaustedError(SandboxError):
    """There is no room for it at the moment. Trying again may help."""


class SandboxTerminalStateUnavailableError(SandboxError):
    """How the sandbox ended cannot be asked for any more."""


class SandboxTerminatedError(SandboxError):
    """The sandbox was ended by somebody, not by its main command.

    Attributes:
        sandbox_id: Its id.
        status_reason: Why, as its status says.
    """

    sandbox_id: Optional[str] = None
    status_reason: Optional[str] = None


class SandboxTimeoutError(SandboxError):
    """Something about a sandbox was not over in time. It goes on."""


class SandboxCommandTimeoutError(SandboxTimeoutError):
    """A command was not over in time, and was ended."""


class SandboxRequestTimeoutError(SandboxTimeoutError):
    """A call was not answered in time, so that it is not known what became of it."""


class SandboxValidationError(SandboxError, ValidationError):
    """The daemon refused some of what was asked for a sandbox."""


class SandboxSnapshotError(SandboxError):
    """Something went wrong with a snapshot.

    Attributes:
        file_system_snapshot_id: Its id, if it is known.
    """

    file_system_snapshot_id: Optional[str] = None


class SnapshotNotFoundError(SandboxSnapshotError):
    """There is no such snapshot."""


class SnapshotNotReadyError(SandboxSnapshotError):
    """The snapshot is still being made."""


class SnapshotNotSupportedError(SandboxSnapshotError):
    """The daemon has no snapshots."""


class SnapshotSizeExceededError(SandboxSnapshotError):
    """There is more to it than a snapshot may hold."""


class SnapshotQuotaExceededError(SandboxSnapshotError):
    """No more snapshots are allowed."""


class SnapshotBucketMismatchError(SandboxSnapshotError):
    """The snapshot lies elsewhere."""


class SnapshotWaitTimeoutError(SandboxTimeoutError, SandboxSnapshotError):
    """The snapshot was not ready in time."""


class SnapshotBucketProvisioningError(SandboxUnavailableError, SandboxSnapshotError):
    """The place for snapshots is still being made."""


class SnapshotBackendThrottledError(SandboxUnavailableError, SandboxSnapshotError):
    """Too many snapshots are asked for at once."""


class SnapshotOnStopConflictError(SandboxSnapshotError):
    """A snapshot at the end of a sandbox cannot be made: that end has come already, or is coming without one."""


class VolumeError(SandboxError):
    """Something went wrong with a volume.

    Attributes:
        volume_id: Its id, if it is known.
    """

    volume_id: Optional[str] = None


class VolumeNotFoundError(VolumeError):
    """There is no such volume."""


class VolumeNotReadyError(VolumeError):
    """The volume is still being made."""


class VolumePlacementConflictError(VolumeError):
    """The volume is elsewhere than the sandbox is to be."""


class VolumeTypeNotSupportedError(VolumeError):
    """The daemon has no volumes of this type."""


class VolumeNotSnapshottableError(VolumeError):
    """No snapshot can be made of this volume."""


class VolumeRunnerIneligibleError(VolumeError):
    """The runner cannot have this volume."""


class VolumeBackendNotFoundError(VolumeError):
    """What the volume stands for is not there."""


class VolumeInUseError(VolumeError):
    """Somebody uses the volume."""


class VolumeQuotaExceededError(VolumeError):
    """No more volumes are allowed."""


class VolumeWaitTimeoutError(SandboxTimeoutError):
    """The volume was not ready in time.

    Attributes:
        volume_id: Its id, if it is known.
    """

    volume_id: Optional[str] = None


class VolumeRunnerUnavailableError(VolumeError, SandboxUnavailableError):
    """The runner that has the volume cannot be reached at the moment."""


CWSandboxError = EbbtideError
CWSandboxAuthenticationError = AuthenticationError
CWSandboxValidationError = ValidationError

AviatoError = EbbtideError
AviatoAuthenticationError = AuthenticationError
