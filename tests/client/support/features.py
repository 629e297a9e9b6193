"""What each version of the public client has.

A test of something that came later says `@needs("...")` and is selected only with the versions that have it.
"""

from collections.abc import Callable
from importlib.metadata import version

import pytest

# Feature -> the first of the versions under test (1.0.0, 1.6.0, 1.22.0) that has it.
FIRST = {
    "streams in any event loop": (1, 22, 0),
    "the cause in the message": (1, 22, 0),
    "validation errors": (1, 6, 0),
    "properties from the echo": (1, 22, 0),
    "data plane mode": (1, 22, 0),
    "working directory": (1, 22, 0),
    "container by name": (1, 22, 0),
    # What is read off the client's behaviour, and checked where it was read.
    "the traps": (1, 22, 0),
    "the reasons": (1, 22, 0),
    "runners": (1, 22, 0),
}

CLIENT = tuple(int(part) for part in version("cwsandbox").split("."))


def has(feature: str) -> bool:
    """Whether the client under test has it."""
    return FIRST[feature] <= CLIENT


def needs(feature: str) -> Callable:
    """Selects a test for the versions that have `feature`."""
    assert feature in FIRST, feature
    return pytest.mark.needs(feature)
