"""The keywords of calls about sandboxes, and what others of their kind have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

from ebbtide import _arguments
from ebbtide._status import SandboxStatus

# What other clients are told about their way to the daemon; there is nothing to tell here.
_WITHOUT_MEANING = (
    "timeout_seconds",
    "poll_retry_budget_seconds",
    "poll_rpc_timeout_seconds",
    "data_plane_mode",
)
_LATER = "Ebbtide does not have it yet"
_MISSING = {
    "auth": "the key of EBBTIDE_API_KEY is used",
    "container": "a sandbox has one container",
    "runner_ids": _LATER,
    "volume_ids": _LATER,
    "profile_ids": _LATER,
    "profile_names": _LATER,
}


def check_keywords(function: str, given: Mapping[str, Any], names: Iterable[str], *, also: Iterable[str] = ()) -> None:
    """Refuses keywords that a function does not have. Those that say nothing (`None`) do no harm."""
    said = [name for name, value in given.items() if value is not None or name not in _MISSING]
    _arguments.known(function, said, (*names, *_WITHOUT_MEANING, *also), missing=_MISSING)


def selection(
    tags: Optional[Sequence[str]], status: Union[SandboxStatus, str, None], show_terminated: bool
) -> tuple[list[str], Optional[str]]:
    """Which sandboxes to list, in the words of the core."""
    _arguments.flag("show_terminated", show_terminated)
    words = [] if tags is None else _arguments.texts("tags", tags)
    if status is None:
        return words, None
    _arguments.text("status", status)
    return words, SandboxStatus(status).value
