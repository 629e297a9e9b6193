"""What can be said of one new sandbox."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Optional, TypedDict, Union

from ebbtide import _arguments, _defaults
from ebbtide._defaults import SandboxDefaults
from ebbtide._resources import ResourceOptions

if TYPE_CHECKING:
    if sys.version_info >= (3, 11):
        from typing import Unpack as Unpack
    else:
        from typing_extensions import Unpack as Unpack


class SandboxOptions(TypedDict, total=False):
    """The keywords of everything that makes a sandbox; what they mean is told by `SandboxDefaults`."""

    container_image: Optional[str]
    args: Optional[Sequence[str]]
    defaults: Union[SandboxDefaults, Mapping[str, Any], None]
    base_url: Optional[str]
    request_timeout_seconds: Optional[float]
    max_lifetime_seconds: Optional[float]
    tags: Optional[Sequence[str]]
    runner_ids: Optional[Sequence[str]]
    resources: Union[ResourceOptions, Mapping[str, Any], None]
    working_dir: Optional[str]
    environment_variables: Optional[Mapping[str, str]]
    annotations: Optional[Mapping[str, str]]
    mounted_files: Optional[Sequence[Mapping[str, Any]]]
    command: Optional[str]
    detach: Optional[bool]
    orphan_grace_seconds: Optional[float]
    keep: Optional[str]
    keep_for_seconds: Optional[float]
    keep_as: Optional[str]
    idle_timeout_seconds: Optional[float]
    on_idle: Optional[str]


NAMES = tuple(SandboxOptions.__annotations__)

# How the public client is to poll: there is nothing to poll here, so they may be given and mean nothing.
_WITHOUT_MEANING = (
    "create_retry_budget_seconds",
    "poll_retry_budget_seconds",
    "poll_rpc_timeout_seconds",
    "data_plane_mode",
)


class Wanted:
    """What one sandbox is to be like: what its call says, laid over its defaults."""

    def __init__(self, function: str, defaults: SandboxDefaults, given: Mapping[str, Any]) -> None:
        _arguments.known(function, given, (*NAMES, *_WITHOUT_MEANING), missing=_defaults.MISSING)

        def said(name: str) -> Any:
            value = given.get(name)
            return getattr(defaults, name) if value is None else value

        self.base_url: Optional[str] = _arguments.text("base_url", said("base_url"), optional=True)
        self.request_timeout: float = _arguments.seconds("request_timeout_seconds", said("request_timeout_seconds"))
        resources = ResourceOptions.of(said("resources")) or ResourceOptions()
        args, runner_ids = said("args"), said("runner_ids")
        gpu = resources.gpu
        self.tags = defaults.merge_tags(given.get("tags"))
        self.detach = _arguments.flag("detach", said("detach"))
        # In the words of the core.
        self.spec: dict[str, Any] = {
            "container_image": _arguments.text("container_image", said("container_image"), optional=True),
            "command": _arguments.text("command", said("command"), optional=True),
            "args": None if args is None else _arguments.texts("args", args),
            "tags": self.tags,
            "environment_variables": defaults.merge_environment_variables(given.get("environment_variables")),
            "annotations": defaults.merge_annotations(given.get("annotations")),
            "requests": resources.requests,
            "limits": resources.limits,
            "gpu": gpu and (gpu.get("count", 1), gpu.get("type"), gpu.get("memory_gb")),
            "working_dir": _arguments.text("working_dir", said("working_dir"), optional=True),
            "mounted_files": [_mounted(position, file) for position, file in _files(given)],
            "runner_ids": None if runner_ids is None else _arguments.texts("runner_ids", runner_ids),
            "max_lifetime_seconds": _defaults.lifetime("max_lifetime_seconds", said("max_lifetime_seconds")),
            "request_timeout_seconds": self.request_timeout,
            "detach": self.detach,
            **_defaults.policy(said),
        }


def defaults_of(given: object) -> SandboxDefaults:
    """Defaults as a caller may write them."""
    if isinstance(given, SandboxDefaults):
        return given
    if given is None or isinstance(given, Mapping):
        return SandboxDefaults.from_dict(given)
    raise _arguments.wrong("defaults", given, "SandboxDefaults or a dictionary")


def _files(given: Mapping[str, Any]) -> list[tuple[int, Any]]:
    files = given.get("mounted_files") or ()
    if isinstance(files, (str, bytes, Mapping)) or not isinstance(files, Sequence):
        raise _arguments.wrong("mounted_files", files, "several dictionaries")
    return list(enumerate(files))


def _mounted(position: int, file: object) -> tuple[str, bytes]:
    name = f"mounted_files[{position}]"
    if not isinstance(file, Mapping):
        raise _arguments.wrong(name, file, "a dictionary with mount_path and file_content")
    _arguments.known(name, file, ("mount_path", "file_content"))
    for key in ("mount_path", "file_content"):
        if key not in file:
            raise TypeError(f"{name} has no {key!r}")
    content = file["file_content"]
    content = content.encode() if isinstance(content, str) else content
    path: str = _arguments.text(f"{name}['mount_path']", file["mount_path"])
    return path, _arguments.data(f"{name}['file_content']", content)
