"""What a forked child has to forget.

The core's thread does not exist in it, and its connections are the parent's: they are closed here and not shut down.
Everything that was made before the fork refuses to work in the child; sandboxes are found again by their ids.
"""

from __future__ import annotations

import contextlib
import os

from ebbtide import _cleanup, _loop, _native

_pid = os.getpid()


def check() -> None:
    """To be called before anything is made, for forks that Python was not told of."""
    if os.getpid() != _pid:
        _in_child()


def _in_child() -> None:
    global _pid
    _pid = os.getpid()
    for descriptor in _native.inherited_sockets():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _loop.forget()
    _cleanup.forget()


def install() -> None:
    """Sees to every fork that Python makes. Another is noticed by the process's number, where something is made."""
    os.register_at_fork(after_in_child=_in_child)
