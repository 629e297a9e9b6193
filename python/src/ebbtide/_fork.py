"""What a forked child has to forget.

The core's thread does not exist in it, and its connections are the parent's: they are closed here and not shut down.
Everything that was made before the fork refuses to work in the child; sandboxes are found again by their ids.
"""

from __future__ import annotations

import contextlib
import os

from ebbtide import _cleanup, _loop, _native


def _in_child() -> None:
    for descriptor in _native.inherited_sockets():
        with contextlib.suppress(OSError):
            os.close(descriptor)
    _loop.forget()
    _cleanup.forget()


def install() -> None:
    """Sees to every fork that Python makes. One that Python does not make is noticed by the process's number."""
    os.register_at_fork(after_in_child=_in_child)
