"""What new sandboxes are to be like."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Optional, Union

from ebbtide import _arguments
from ebbtide._resources import ResourceOptions

REQUEST_TIMEOUT = 300.0
KEEP = ("never", "on_failure", "always", "attached")
KEEP_AS = ("running", "paused", "files")
ON_IDLE = ("stop", "pause")


@dataclass(frozen=True)
class SandboxDefaults:
    """What new sandboxes are to be like, where the call that makes one says nothing else.

    Tags are put before those of the call; environment variables and annotations are merged by name, the call's
    winning; of everything else the call's value replaces the default. What is left out here too is the daemon's
    choice.

    Attributes:
        container_image: The image, e.g. `"python:3.11"`; the daemon's is `host`, the machine's own programs.
        command: The program of the main command, with which the sandbox ends; without one it idles.
        args: The arguments of the main command.
        base_url: The daemon's address, e.g. `"https://sandboxes.example:8443"`; otherwise the environment names it
            (`EBBTIDE_URL`, else the home `EBBTIDE_HOME`), and one that is not there is started.
        request_timeout_seconds: How long a sandbox may take to start, and how long its end is waited for, in
            seconds; 300 by default.
        max_lifetime_seconds: How long a sandbox may live, in whole seconds; the daemon's choice by default.
        temp_dir: Where functions put their arguments and results in a sandbox; `/tmp` by default.
        tags: Words to find sandboxes by.
        runner_ids: The runners that may run it; none at all clears what was set before.
        resources: What a sandbox may use.
        working_dir: The directory that its commands start in.
        environment_variables: The environment of its commands.
        annotations: Free strings by string.
        detach: Whether sandboxes live on when this process ends: nobody owns them, and their lifetime ends them.
        orphan_grace_seconds: How long sandboxes live on after this process, in whole seconds, for others to adopt
            them; 60 by default.
        keep: When an end that nobody asked for by name spares them (that of a block, a session, this process):
            `"never"`, `"on_failure"`, `"always"` or `"attached"`; never by default. What `EBBTIDE_KEEP_SANDBOX` says
            counts more.
        keep_for_seconds: For how long sandboxes are kept then, in whole seconds; 3600 by default.
        keep_as: What is kept: `"running"`, `"paused"` or `"files"`; paused by default.
        idle_timeout_seconds: After how long without use sandboxes are idle, in whole seconds; never by default.
        on_idle: What becomes of them then: `"stop"` or `"pause"`; they end by default.

    Raises:
        TypeError: A name is unknown, or a value of a wrong type.
        ValueError: A value is out of range.

    Examples:
        >>> SandboxDefaults(container_image="python:3.11", tags=("my-project",))
    """

    container_image: Optional[str] = None
    command: Optional[str] = None
    args: Optional[tuple[str, ...]] = None
    base_url: Optional[str] = None
    request_timeout_seconds: float = REQUEST_TIMEOUT
    max_lifetime_seconds: Optional[float] = None
    temp_dir: str = "/tmp"
    tags: tuple[str, ...] = ()
    runner_ids: Optional[tuple[str, ...]] = None
    resources: Union[ResourceOptions, dict[str, Any], None] = None
    working_dir: Optional[str] = None
    environment_variables: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    detach: bool = False
    orphan_grace_seconds: Optional[float] = None
    keep: Optional[str] = None
    keep_for_seconds: Optional[float] = None
    keep_as: Optional[str] = None
    idle_timeout_seconds: Optional[float] = None
    on_idle: Optional[str] = None

    def __new__(cls, *_args: object, **given: object) -> SandboxDefaults:
        """Refuses unknown names in words of its own."""
        _arguments.known("SandboxDefaults", given, cls._names(), missing=MISSING)
        return super().__new__(cls)

    def __post_init__(self) -> None:
        for name in ("container_image", "command", "base_url", "working_dir"):
            _arguments.text(name, getattr(self, name), optional=True)
        _arguments.text("temp_dir", self.temp_dir)
        _arguments.seconds("request_timeout_seconds", self.request_timeout_seconds)
        lifetime("max_lifetime_seconds", self.max_lifetime_seconds)
        for name in ("args", "tags", "runner_ids"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(_arguments.texts(name, value)))
        for name in ("environment_variables", "annotations"):
            object.__setattr__(self, name, _arguments.pairs(name, getattr(self, name)))
        object.__setattr__(self, "resources", ResourceOptions.of(self.resources))
        _arguments.flag("detach", self.detach)
        policy(lambda name: getattr(self, name))

    @classmethod
    def _names(cls) -> list[str]:
        return [entry.name for entry in dataclasses.fields(cls)]

    @classmethod
    def from_dict(cls, given: Optional[Mapping[str, Any]]) -> SandboxDefaults:
        """From a dictionary, e.g. of a configuration file.

        Names that are unknown and values that are `None` are left out.
        """
        if given is None:
            return cls()
        if not isinstance(given, Mapping):
            raise _arguments.wrong("defaults", given, "SandboxDefaults or a dictionary")
        names = cls._names()
        return cls(**{name: value for name, value in given.items() if name in names and value is not None})

    def with_overrides(self, **changes: Any) -> SandboxDefaults:
        """The same with these values instead.

        Raises:
            TypeError: A name is unknown, or a value of a wrong type.

        Examples:
            >>> defaults.with_overrides(container_image="host")
        """
        _arguments.known("with_overrides()", changes, self._names(), missing=MISSING)
        return dataclasses.replace(self, **changes)

    def merge_tags(self, additional: Optional[Iterable[str]]) -> list[str]:
        """These tags, and then others."""
        return [*self.tags, *(() if additional is None else _arguments.texts("tags", additional))]

    def merge_environment_variables(self, additional: Optional[Mapping[str, str]]) -> dict[str, str]:
        """These variables, with others laid over them."""
        return {**self.environment_variables, **_arguments.pairs("environment_variables", additional or {})}

    def merge_annotations(self, additional: Optional[Mapping[str, str]]) -> dict[str, str]:
        """These annotations, with others laid over them."""
        return {**self.annotations, **_arguments.pairs("annotations", additional or {})}


def lifetime(name: str, value: object) -> Optional[float]:
    """A lifetime, of which the daemon counts whole seconds."""
    given: Optional[float] = _arguments.seconds(name, value, optional=True)
    if given is not None and given < 1:
        raise ValueError(f"{name} is {given} s; accepted: 1 to {2**31 - 1} s")
    return given


def policy(said: Callable[[str], object]) -> dict[str, Any]:
    """What is to become of sandboxes that nobody ends, checked."""
    checked = {
        "orphan_grace_seconds": _arguments.whole_seconds(
            "orphan_grace_seconds", said("orphan_grace_seconds"), zero=True
        ),
        "keep": _arguments.choice("keep", said("keep"), KEEP),
        "keep_for_seconds": _arguments.whole_seconds("keep_for_seconds", said("keep_for_seconds")),
        "keep_as": _arguments.choice("keep_as", said("keep_as"), KEEP_AS),
        "idle_timeout_seconds": _arguments.whole_seconds("idle_timeout_seconds", said("idle_timeout_seconds")),
        "on_idle": _arguments.choice("on_idle", said("on_idle"), ON_IDLE),
    }
    if checked["on_idle"] is not None and checked["idle_timeout_seconds"] is None:
        raise ValueError(f"on_idle is {checked['on_idle']!r} for what is never idle; say idle_timeout_seconds too")
    return checked


_LATER = "Ebbtide does not have it yet"
# What the guides have and Ebbtide does not: a program that needs it must not run without.
MISSING: Mapping[str, str] = {
    "auth": "the key of EBBTIDE_API_KEY is used",
    "profile_ids": "use runner_ids",
    "profile_names": "use runner_ids",
    "max_timeout_seconds": "use max_lifetime_seconds",
    "ports": _LATER,
    "s3_mount": _LATER,
    **dict.fromkeys(
        (
            "network",
            "services",
            "volumes",
            "file_system_snapshot",
            "placement_mode",
            "placement_spillover",
            "template_id",
            "image_pull_credentials",
            "runtime_class",
            "security_context",
            "object_storage_access",
            "secrets",
            "containers",
        ),
        _LATER,
    ),
}
