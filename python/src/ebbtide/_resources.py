"""What a sandbox may use."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Optional, Union

from ebbtide import _arguments

_AMOUNTS = ("cpu", "memory")
_GPU = ("count", "type", "memory_gb")
_UNITS: dict[str, Decimal] = {"": Decimal(1), "m": Decimal("0.001")}
_UNITS.update({unit: Decimal(1000) ** power for power, unit in enumerate("kMGTPE", 1)})
_UNITS.update({f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)})
_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)([a-zA-Z]*)\Z")


@dataclass(frozen=True)
class ResourceOptions:
    """What a sandbox may use: what is set aside for it, and what it may not exceed.

    One side alone stands for both.

    Attributes:
        requests: What is set aside: `cpu` in cores (`"500m"`, `"2"`), `memory` in bytes (`"256Mi"`, `"1Gi"`).
        limits: What may not be exceeded, in the same words.
        gpu: Graphics processors: `count`, and `type` or `memory_gb` of each.

    Raises:
        TypeError: Something is of a wrong type.
        ValueError: A name is unknown, an amount cannot be read, or a request is larger than its limit.

    Examples:
        >>> ResourceOptions(requests={"cpu": "1", "memory": "1Gi"}, limits={"cpu": "2", "memory": "2Gi"})
        >>> ResourceOptions(limits={"cpu": "500m", "memory": "256Mi"})
    """

    requests: Optional[dict[str, str]] = None
    limits: Optional[dict[str, str]] = None
    gpu: Optional[dict[str, Any]] = None

    def __post_init__(self) -> None:
        for side in ("requests", "limits"):
            given = getattr(self, side)
            if given is not None:
                object.__setattr__(self, side, _amounts(f"resources.{side}", given))
        if self.gpu is not None:
            object.__setattr__(self, "gpu", _gpu(self.gpu))
        requests = self.requests if self.requests is not None else self.limits
        limits = self.limits if self.limits is not None else self.requests
        for name in _AMOUNTS:
            asked, most = (requests or {}).get(name), (limits or {}).get(name)
            if asked is not None and most is not None and _quantity(asked) > _quantity(most):
                raise ValueError(f"resources: the request of {asked} {name} is larger than the limit of {most}")

    @classmethod
    def of(cls, given: ResourcesLike) -> Optional[ResourceOptions]:
        """From whatever a caller may write: this, a dictionary of the same names, or a flat one of amounts.

        A flat dictionary (`{"cpu": "1", "memory": "1Gi", "gpu": 1}`) is both request and limit.
        """
        if given is None or isinstance(given, ResourceOptions):
            return given
        if not isinstance(given, Mapping):
            raise _arguments.wrong("resources", given, "ResourceOptions or a dictionary")
        if not given:
            return None
        if "requests" in given or "limits" in given:
            _only("resources", given, ("requests", "limits", "gpu"))
            return cls(**given)
        _only("resources", given, (*_AMOUNTS, "gpu"))
        amounts = {name: amount for name, amount in given.items() if name != "gpu"} or None
        return cls(requests=amounts, limits=amounts, gpu=given.get("gpu"))


ResourcesLike = Union[ResourceOptions, Mapping[str, Any], None]


def _only(name: str, given: Mapping[str, Any], valid: tuple[str, ...]) -> None:
    for key in given:
        if key not in valid:
            raise ValueError(f"{name} has no {key!r}; accepted: {', '.join(valid)}")


def _amounts(name: str, given: object) -> dict[str, str]:
    amounts = _arguments.pairs(name, given)
    _only(name, amounts, _AMOUNTS)
    for key, amount in amounts.items():
        if _quantity(amount) <= 0:
            raise ValueError(f"{name}[{key!r}] is {amount!r}; accepted: an amount such as '500m', '2' or '256Mi'")
    return amounts


def _quantity(amount: str) -> Decimal:
    """How much it is; nothing for what is no amount."""
    match = _QUANTITY.match(amount)
    unit = _UNITS.get(match[2]) if match else None
    return Decimal(0) if match is None or unit is None else Decimal(match[1]) * unit


def _gpu(given: object) -> dict[str, Any]:
    if isinstance(given, int) and not isinstance(given, bool):
        given = {"count": given}
    if not isinstance(given, Mapping):
        raise _arguments.wrong("resources.gpu", given, "a dictionary or a number")
    _only("resources.gpu", given, _GPU)
    gpu = dict(given)
    for name in ("count", "memory_gb"):
        if name in gpu:
            _arguments.count(f"resources.gpu[{name!r}]", gpu[name], least=1, most=2**31 - 1)
    if "type" in gpu:
        _arguments.text("resources.gpu['type']", gpu["type"])
        if "memory_gb" in gpu:
            raise ValueError("resources.gpu has both 'type' and 'memory_gb'; give one of them")
    return gpu
