"""From what the core says of a failure to an exception of the right class."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Optional

from ebbtide import exceptions
from ebbtide.exceptions import EbbtideError

_log = logging.getLogger("ebbtide")

# The daemon's reason decides where it has a class of its own.
_BY_REASON: Mapping[str, type[EbbtideError]] = {
    "CWSANDBOX_FSS_NOT_FOUND": exceptions.SnapshotNotFoundError,
    "CWSANDBOX_FSS_NOT_READY": exceptions.SnapshotNotReadyError,
    "CWSANDBOX_FSS_NOT_SUPPORTED": exceptions.SnapshotNotSupportedError,
    "CWSANDBOX_FSS_SIZE_EXCEEDED": exceptions.SnapshotSizeExceededError,
    "CWSANDBOX_FSS_QUOTA_EXCEEDED": exceptions.SnapshotQuotaExceededError,
    "CWSANDBOX_FSS_BUCKET_MISMATCH": exceptions.SnapshotBucketMismatchError,
    "CWSANDBOX_FSS_BUCKET_PROVISIONING": exceptions.SnapshotBucketProvisioningError,
    "CWSANDBOX_FSS_WAIT_TIMEOUT": exceptions.SnapshotWaitTimeoutError,
    "CWSANDBOX_FSS_BACKEND_THROTTLED": exceptions.SnapshotBackendThrottledError,
    "CWSANDBOX_FSS_INFLIGHT_LIMIT": exceptions.SnapshotBackendThrottledError,
    "CWSANDBOX_VOLUME_NOT_FOUND": exceptions.VolumeNotFoundError,
    "CWSANDBOX_VOLUME_NOT_READY": exceptions.VolumeNotReadyError,
    "CWSANDBOX_VOLUME_PLACEMENT_CONFLICT": exceptions.VolumePlacementConflictError,
    "CWSANDBOX_VOLUME_TYPE_NOT_SUPPORTED": exceptions.VolumeTypeNotSupportedError,
    "CWSANDBOX_VOLUME_NOT_SNAPSHOTTABLE": exceptions.VolumeNotSnapshottableError,
    "CWSANDBOX_VOLUME_RUNNER_INELIGIBLE": exceptions.VolumeRunnerIneligibleError,
    "CWSANDBOX_VOLUME_BACKEND_NOT_FOUND": exceptions.VolumeBackendNotFoundError,
    "CWSANDBOX_VOLUME_IN_USE": exceptions.VolumeInUseError,
    "CWSANDBOX_VOLUME_QUOTA_EXCEEDED": exceptions.VolumeQuotaExceededError,
    "CWSANDBOX_VOLUME_RUNNER_UNAVAILABLE": exceptions.VolumeRunnerUnavailableError,
    "CWSANDBOX_RUNNER_NOT_FOUND": exceptions.RunnerNotFoundError,
}

# Elsewhere the class of the failure does.
_BY_KIND: Mapping[str, type[EbbtideError]] = {
    "NotFound": exceptions.SandboxNotFoundError,
    "NotRunning": exceptions.SandboxNotRunningError,
    "Paused": exceptions.SandboxPausedError,
    "Owned": exceptions.SandboxOwnedError,
    "NoReceipt": exceptions.ReceiptUnavailableError,
    "Failed": exceptions.SandboxFailedError,
    "Terminated": exceptions.SandboxTerminatedError,
    "Timeout": exceptions.SandboxTimeoutError,
    "CommandTimeout": exceptions.SandboxCommandTimeoutError,
    "RequestTimeout": exceptions.SandboxRequestTimeoutError,
    "Unavailable": exceptions.SandboxUnavailableError,
    "ResourceExhausted": exceptions.SandboxResourceExhaustedError,
    "Validation": exceptions.SandboxValidationError,
    "Authentication": exceptions.AuthenticationError,
    "File": exceptions.SandboxFileError,
    "Execution": exceptions.SandboxExecutionError,
    "OutputTruncated": exceptions.SandboxStreamTruncatedError,
    "Daemon": exceptions.DaemonError,
    "Protocol": exceptions.SandboxProtocolError,
}


def error(failure: Mapping[str, Any], *, sandbox_id: Optional[str] = None) -> EbbtideError:
    """The exception for a failure.

    Args:
        failure: What the core says of it.
        sandbox_id: The sandbox that it is about, where the core does not say.
    """
    reason = failure["reason"]
    kind = _BY_REASON.get(reason or "") if failure.get("trusted") else None
    kind = kind or _BY_KIND.get(failure["kind"], exceptions.SandboxError)
    delay = failure["retry_delay"]
    details: dict[str, Any] = {
        "sandbox_id": failure.get("sandbox_id") or sandbox_id,
        "status_reason": failure.get("status_reason"),
        "filepath": failure["metadata"].get("filepath"),
        "owner": failure["metadata"].get("owner"),
        "owned_since": _moment(failure["metadata"].get("owned_since")),
        "volume_id": failure["metadata"].get("volume_id"),
        "runner_id": failure["metadata"].get("runner_id"),
        "field_violations": tuple(exceptions.FieldViolation(*field) for field in failure["fields"]),
        "exec_result": _result(failure.get("result")),
        "failures": tuple((id, error(why, sandbox_id=id)) for id, why in failure.get("failures", ())),
    }
    made = kind(
        failure["message"],
        reason=reason,
        metadata=failure["metadata"],
        retry_delay=None if delay is None else timedelta(seconds=delay),
        code=failure.get("code"),
        request_id=failure["request_id"],
        **{name: value for name, value in details.items() if value and hasattr(kind, name)},
    )
    if isinstance(made, exceptions.SandboxError) and made.failures:
        made.__cause__ = _group(made)
    return made


def _moment(text: Optional[str]) -> Optional[datetime]:
    """A time as the daemon writes it; `None` where it says none, or in another way."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    except ValueError:
        return None


def _result(described: Any) -> Any:
    from ebbtide._process import ProcessResult

    return None if described is None else ProcessResult.of(*described)


def _group(made: exceptions.SandboxError) -> BaseException:
    """All that failed as one cause, where Python has such a thing; the first of them otherwise."""
    import builtins

    causes = [cause for _, cause in made.failures]
    group = getattr(builtins, "ExceptionGroup", None)
    if group is None:
        return causes[0]
    grouped: BaseException = group("sandboxes that could not be stopped", causes)
    return grouped


def after_block(raised: Optional[BaseException], problem: Exception, what: str) -> None:
    """Of the error of a `with` block and that of its end the first is told; the other is logged."""
    if raised is None:
        raise problem
    _log.warning("%s at the end of its block: %s", what, problem)
