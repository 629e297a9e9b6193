"""Checks of what a caller gives, so that a mistake shows where it is made and with its name."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from typing import Any, Optional


def wrong(name: str, value: object, wanted: str) -> TypeError:
    """The exception for an argument of a wrong type."""
    return TypeError(f"{name} is {wanted}, not {type(value).__name__}")


def text(name: str, value: object, *, optional: bool = False) -> Any:
    """A string."""
    if isinstance(value, str) or (optional and value is None):
        return value
    raise wrong(name, value, "a string or None" if optional else "a string")


def texts(name: str, value: object) -> list[str]:
    """Several strings; one alone is a mistake, since it would be taken for its letters."""
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise wrong(name, value, f"several strings, e.g. [{value!r}]" if value else "several strings")
    every = list(value)
    for position, item in enumerate(every):
        if not isinstance(item, str):
            raise wrong(f"{name}[{position}]", item, "a string")
    return every


def pairs(name: str, value: object) -> dict[str, str]:
    """Strings by string."""
    if not isinstance(value, Mapping):
        raise wrong(name, value, "a dictionary of strings")
    for key, item in value.items():
        if not isinstance(key, str):
            raise wrong(f"a key of {name}", key, "a string")
        if not isinstance(item, str):
            raise wrong(f"{name}[{key!r}]", item, "a string")
    return dict(value)


def flag(name: str, value: object) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise wrong(name, value, "True or False")
    return value


def number(name: str, value: object, *, optional: bool = False) -> Any:
    """A number."""
    if optional and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise wrong(name, value, "a number or None" if optional else "a number")
    if math.isnan(value):
        raise ValueError(f"{name} is not a number")
    return value


def seconds(name: str, value: object, *, optional: bool = False, zero: bool = False) -> Any:
    """A time in seconds, more than nothing unless `zero` allows for that."""
    given = number(name, value, optional=optional)
    if given is None:
        return None
    if given < 0 or (given == 0 and not zero) or given > 2**31 - 1:
        least = "0" if zero else "more than 0"
        raise ValueError(f"{name} is {given} s; accepted: {least} to {2**31 - 1} s")
    return float(given)


def count(name: str, value: object, *, least: int, most: int, optional: bool = False) -> Any:
    """A whole number in a range."""
    if optional and value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(name, value, "a whole number or None" if optional else "a whole number")
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}; accepted: {least} to {most}")
    return value


def choice(name: str, value: object, words: Iterable[str]) -> Any:
    """One of several words, or `None`."""
    given = text(name, value, optional=True)
    words = list(words)
    if given is not None and given not in words:
        raise ValueError(f"{name} is {given!r}; accepted: {', '.join(words)}")
    return given


def whole_seconds(name: str, value: object, *, zero: bool = False) -> Any:
    """A time in whole seconds, or `None`."""
    given = seconds(name, value, optional=True, zero=zero)
    if given is not None and given != int(given):
        raise ValueError(f"{name} is {given} s; accepted: whole seconds")
    return given


def data(name: str, value: object) -> bytes:
    """Bytes."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, str):
        raise TypeError(f"{name} is bytes, not str; encode it, e.g. {name}.encode()")
    raise wrong(name, value, "bytes")


def command(value: object) -> list[str]:
    """A program and its arguments."""
    if isinstance(value, str):
        raise TypeError(f'command is several strings, not str; e.g. ["sh", "-c", {value!r}]')
    words = texts("command", value)
    if not words:
        raise ValueError("command is empty; accepted: a program and its arguments")
    return words


def unknown(function: str, name: str, valid: Iterable[str]) -> TypeError:
    """The exception for a keyword that a function does not have."""
    near = difflib.get_close_matches(name, list(valid), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return TypeError(f"{function} has no argument {name!r}{hint}")


def known(
    function: str, given: Iterable[str], valid: Iterable[str], *, missing: Optional[Mapping[str, str]] = None
) -> None:
    """Refuses keywords that a function does not have.

    Args:
        function: How it is called.
        given: The keywords.
        valid: Those that it has.
        missing: Those that others have, with what there is instead.
    """
    valid = list(valid)
    for name in given:
        if name in valid:
            continue
        if missing and name in missing:
            raise TypeError(f"{function} has no argument {name!r}: {missing[name]}")
        raise unknown(function, name, valid)
