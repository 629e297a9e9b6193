"""Where a sandbox is in its life."""

from __future__ import annotations

from enum import Enum


class SandboxStatus(str, Enum):
    """Where a sandbox is in its life; equal to its name as a string.

    Examples:
        >>> sandbox.status == "running"
        True
    """

    PENDING = "pending"
    CREATING = "creating"
    PREPARING = "preparing"
    RUNNING = "running"
    PAUSED = "paused"
    TERMINATING = "terminating"
    COMPLETED = "completed"
    FAILED = "failed"
    TERMINATED = "terminated"
    UNSPECIFIED = "unspecified"

    __str__ = str.__str__

    @property
    def is_terminal(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self in (self.COMPLETED, self.FAILED, self.TERMINATED, self.UNSPECIFIED)

    @classmethod
    def of(cls, name: str) -> SandboxStatus:
        """From the core's word for it."""
        return cls.UNSPECIFIED if name == "unknown" else cls(name)

    @classmethod
    def _missing_(cls, value: object) -> SandboxStatus:
        if isinstance(value, str) and value != value.lower():
            return cls(value.lower())
        accepted = ", ".join(member.value for member in cls)
        raise ValueError(f"{value!r} is no status of a sandbox; accepted: {accepted}")
