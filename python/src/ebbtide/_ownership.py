"""Who owns a sandbox, what is to become of it, and what its end released."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Optional


@dataclass(frozen=True)
class Holder:
    """Who owns a sandbox, or did last.

    Attributes:
        lease_id: The public name of its lease; `None` for a process that holds none.
        pid: The process, if it is one of the daemon's machine.
        label: Words for a person; may be empty.
        mine: Whether it is this process.
    """

    lease_id: Optional[str]
    pid: Optional[int]
    label: str
    mine: bool


@dataclass(frozen=True)
class Ownership:
    """Whether somebody stands for a sandbox.

    Attributes:
        kind: `"unowned"`, `"detached"`, `"owned"`, `"orphaned"` or `"kept"`.
        holder: Who does, or did last.
        since: Of one that is owned, orphaned or kept: since when.
        until: Of one that is orphaned or kept: until when it can be adopted.
        reason: How its owner went (`"process_ended"`, `"connection_lost"`, `"released"`), or why it is kept.
    """

    kind: str
    holder: Optional[Holder]
    since: Optional[datetime]
    until: Optional[datetime]
    reason: Optional[str]


@dataclass(frozen=True)
class Policy:
    """What is to become of a sandbox that nobody ends; the names are those of `Sandbox()`."""

    detach: bool
    orphan_grace_seconds: float
    keep: str
    keep_for_seconds: float
    keep_as: str
    idle_timeout_seconds: Optional[float]
    on_idle: str


@dataclass(frozen=True)
class Deadline:
    """When something becomes of a sandbox by itself.

    Attributes:
        kind: What is over then: `"lifetime"`, `"orphan_grace"`, `"keep"`, `"idle"` or `"stop_grace"`.
        at: When.
        then: What happens: `"stop"`, `"pause"`, `"keep"` or `"kill"`.
    """

    kind: str
    at: datetime
    then: str


@dataclass(frozen=True)
class Receipt:
    """What the end of a sandbox released.

    Attributes:
        released: How many of each kind, e.g. `{"processes": 3}`.
        bytes: Bytes of disk.
        steps: How long each step took, in seconds.
        took_seconds: How long all of it took.
        left: Kind and name of what could not be released: nothing.
    """

    released: Mapping[str, int]
    bytes: int
    steps: Mapping[str, float]
    took_seconds: float
    left: list[tuple[str, str]]

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Receipt:
        """As the core says it."""
        return cls(**{**said, "released": dict(said["released"]), "steps": dict(said["steps"])})


@dataclass(frozen=True)
class End:
    """How a sandbox ended, or why it is ending.

    Attributes:
        reason: One stable word, e.g. `"owner_gone"`.
        by: Who asked for it; empty where nobody did.
        message: Words for a person; may be empty.
        ended_at: When its last resource was released.
        exit_code: That of its main command, once it is known.
        receipt: What was released; `None` until it is over.
    """

    reason: str
    by: str
    message: str
    ended_at: Optional[datetime]
    exit_code: Optional[int]
    receipt: Optional[Receipt]


@dataclass(frozen=True)
class MainEnd:
    """How the main command of a sandbox ended that was kept all the same.

    Attributes:
        reason: `"main_exited"` or `"out_of_memory"`.
        exit_code: Its exit code.
        at: When.
        files_until: Until when its files can be read and commands run in it, unless somebody stops it earlier; `None`
            once it is ending.
    """

    reason: str
    exit_code: int
    at: Optional[datetime]
    files_until: Optional[datetime]


@dataclass(frozen=True)
class SandboxDescription:
    """All that is known of a sandbox besides its state.

    Attributes:
        principal: Whose it is, e.g. `"uid:0"`.
        ownership: Who stands for it.
        policy: What is to become of it.
        deadlines: What will end it, or deal with it, the first to come first.
        active: How many commands run in it, and files are copied.
        last_active_at: When it was last used, if that is known.
        end: How it ended, or why it is ending; `None` while nothing ends it.
        main_end: How its main command ended, where the sandbox was kept all the same.
        words: All of it in plain words, a sentence a line.
    """

    principal: str
    ownership: Ownership
    policy: Policy
    deadlines: list[Deadline]
    active: int
    last_active_at: Optional[datetime]
    end: Optional[End]
    main_end: Optional[MainEnd]
    words: str

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> SandboxDescription:
        """As the core says it."""
        owner, end, main_end = said["ownership"], said["end"], said["main_end"]
        holder = owner["holder"]
        times = {name: _time(owner[name]) for name in ("since", "until")}
        return cls(
            **{
                **said,
                "ownership": Ownership(**{**owner, **times, "holder": holder and Holder(**holder)}),
                "policy": Policy(**said["policy"]),
                "deadlines": [Deadline(**{**one, "at": _time(one["at"])}) for one in said["deadlines"]],
                "last_active_at": _time(said["last_active_at"]),
                "end": end and _end(end),
                "main_end": main_end and _main_end(main_end),
            }
        )


def _end(said: Mapping[str, Any]) -> End:
    receipt = said["receipt"]
    return End(**{**said, "ended_at": _time(said["ended_at"]), "receipt": receipt and Receipt.of(receipt)})


def _main_end(said: Mapping[str, Any]) -> MainEnd:
    return MainEnd(**{**said, "at": _time(said["at"]), "files_until": _time(said["files_until"])})


def _time(seconds: Optional[float]) -> Optional[datetime]:
    return None if seconds is None else datetime.fromtimestamp(seconds, tz=timezone.utc)
