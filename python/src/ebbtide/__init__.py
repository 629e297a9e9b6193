"""Commands in disposable Linux sandboxes; nothing outlives its owner.

    from ebbtide import Sandbox

    with Sandbox.run() as sandbox:
        print(sandbox.exec(["echo", "hello"]).result().stdout)

Nothing needs to be set up: the first call starts a small daemon with the program `ebb` that comes with this package.
`EBBTIDE_URL` and `EBBTIDE_API_KEY` name a daemon elsewhere.
"""

from __future__ import annotations

from ebbtide import _binary, _fork
from ebbtide._cleanup import disable_signal_handlers
from ebbtide._defaults import SandboxDefaults
from ebbtide._function import RemoteFunction
from ebbtide._operation import OperationRef, results, wait
from ebbtide._ownership import Deadline, End, Holder, MainEnd, Ownership, Policy, Receipt, SandboxDescription
from ebbtide._process import Process, ProcessResult, TerminalResult, TerminalSession
from ebbtide._resources import ResourceOptions
from ebbtide._sandbox import Sandbox
from ebbtide._session import Session
from ebbtide._status import SandboxStatus
from ebbtide._streams import StreamReader, StreamWriter
from ebbtide.exceptions import (
    AsyncFunctionError,
    AuthenticationError,
    AviatoAuthenticationError,
    AviatoError,
    CWSandboxAuthenticationError,
    CWSandboxError,
    CWSandboxValidationError,
    DaemonError,
    DiscoveryError,
    DiscoveryValidationError,
    EbbtideError,
    FieldViolation,
    FunctionError,
    ProfileNotFoundError,
    ReceiptUnavailableError,
    RunnerNotFoundError,
    SandboxCommandTimeoutError,
    SandboxError,
    SandboxExecutionError,
    SandboxFailedError,
    SandboxFileError,
    SandboxNotFoundError,
    SandboxNotRunningError,
    SandboxOwnedError,
    SandboxPausedError,
    SandboxProtocolError,
    SandboxRequestTimeoutError,
    SandboxResourceExhaustedError,
    SandboxSnapshotError,
    SandboxStreamBackpressureError,
    SandboxStreamTruncatedError,
    SandboxTerminalStateUnavailableError,
    SandboxTerminatedError,
    SandboxTimeoutError,
    SandboxUnavailableError,
    SandboxValidationError,
    SnapshotBackendThrottledError,
    SnapshotBucketMismatchError,
    SnapshotBucketProvisioningError,
    SnapshotNotFoundError,
    SnapshotNotReadyError,
    SnapshotNotSupportedError,
    SnapshotOnStopConflictError,
    SnapshotQuotaExceededError,
    SnapshotSizeExceededError,
    SnapshotWaitTimeoutError,
    ValidationError,
    VolumeBackendNotFoundError,
    VolumeError,
    VolumeInUseError,
    VolumeNotFoundError,
    VolumeNotReadyError,
    VolumeNotSnapshottableError,
    VolumePlacementConflictError,
    VolumeQuotaExceededError,
    VolumeRunnerIneligibleError,
    VolumeRunnerUnavailableError,
    VolumeTypeNotSupportedError,
    VolumeWaitTimeoutError,
)

__version__ = "0.1.0"

get = results
"""The former name of `results`."""

__all__ = [
    "AsyncFunctionError",
    "AuthenticationError",
    "AviatoAuthenticationError",
    "AviatoError",
    "CWSandboxAuthenticationError",
    "CWSandboxError",
    "CWSandboxValidationError",
    "DaemonError",
    "Deadline",
    "DiscoveryError",
    "DiscoveryValidationError",
    "EbbtideError",
    "End",
    "FieldViolation",
    "FunctionError",
    "Holder",
    "MainEnd",
    "OperationRef",
    "Ownership",
    "Policy",
    "Process",
    "ProcessResult",
    "ProfileNotFoundError",
    "Receipt",
    "ReceiptUnavailableError",
    "RemoteFunction",
    "ResourceOptions",
    "RunnerNotFoundError",
    "Sandbox",
    "SandboxCommandTimeoutError",
    "SandboxDefaults",
    "SandboxDescription",
    "SandboxError",
    "SandboxExecutionError",
    "SandboxFailedError",
    "SandboxFileError",
    "SandboxNotFoundError",
    "SandboxNotRunningError",
    "SandboxOwnedError",
    "SandboxPausedError",
    "SandboxProtocolError",
    "SandboxRequestTimeoutError",
    "SandboxResourceExhaustedError",
    "SandboxSnapshotError",
    "SandboxStatus",
    "SandboxStreamBackpressureError",
    "SandboxStreamTruncatedError",
    "SandboxTerminalStateUnavailableError",
    "SandboxTerminatedError",
    "SandboxTimeoutError",
    "SandboxUnavailableError",
    "SandboxValidationError",
    "Session",
    "SnapshotBackendThrottledError",
    "SnapshotBucketMismatchError",
    "SnapshotBucketProvisioningError",
    "SnapshotNotFoundError",
    "SnapshotNotReadyError",
    "SnapshotNotSupportedError",
    "SnapshotOnStopConflictError",
    "SnapshotQuotaExceededError",
    "SnapshotSizeExceededError",
    "SnapshotWaitTimeoutError",
    "StreamReader",
    "StreamWriter",
    "TerminalResult",
    "TerminalSession",
    "ValidationError",
    "VolumeBackendNotFoundError",
    "VolumeError",
    "VolumeInUseError",
    "VolumeNotFoundError",
    "VolumeNotReadyError",
    "VolumeNotSnapshottableError",
    "VolumePlacementConflictError",
    "VolumeQuotaExceededError",
    "VolumeRunnerIneligibleError",
    "VolumeRunnerUnavailableError",
    "VolumeTypeNotSupportedError",
    "VolumeWaitTimeoutError",
    "__version__",
    "disable_signal_handlers",
    "get",
    "results",
    "wait",
]

_binary.use()
_fork.install()
