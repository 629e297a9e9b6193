"""What happens to this process's sandboxes when it ends.

Handlers are installed when the process first has a sandbox of its own, never on import. They do no work: ending the
sandboxes is begun, which is the core's business and never waits, and what was there before is called. The process
waits for the sandboxes where it ends anyway, after the last thread and before the interpreter goes.

What could not be stopped stays with the process and is tried again. What is left when it has gone, by whatever cause,
the daemon ends after the grace period of owners.
"""

from __future__ import annotations

import atexit
import builtins
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any, Optional

from ebbtide import _errors, _native

_log = logging.getLogger("ebbtide")

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SWITCHES = ("EBBTIDE_DISABLE_SIGNAL_HANDLERS", "CWSANDBOX_DISABLE_SIGNAL_HANDLERS")
# How long a process that ends waits for its sandboxes, and how often it tries to stop what could not be stopped.
_EXIT_SECONDS = 60.0
_EXIT_ROUNDS = 3

_waits_at_exit = False
_signals_done = False
_disabled = False
# What was there before, by signal.
_previous: dict[int, Any] = {}


def disable_signal_handlers() -> None:
    """Leaves the signals of this process alone, for a program that has handlers of its own.

    Sandboxes still end when the process ends normally; a signal that ends it leaves them to the daemon's grace
    period. The environment variable `EBBTIDE_DISABLE_SIGNAL_HANDLERS=1` does the same.

    Raises:
        RuntimeError: The process has a sandbox already, so that handlers are installed.

    Examples:
        >>> import ebbtide
        >>> ebbtide.disable_signal_handlers()
    """
    global _disabled
    if _previous:
        raise RuntimeError(
            "signal handlers are installed already; call disable_signal_handlers() before the first sandbox is made"
        )
    _disabled = True


def expect() -> None:
    """Prepares for the end of this process, which is about to have a sandbox of its own. Costs nothing when done."""
    global _waits_at_exit
    if not _waits_at_exit:
        _waits_at_exit = True
        if _is_worker():
            from multiprocessing.util import Finalize

            # It ends without what `atexit` has, in a way of its own.
            Finalize(None, _at_exit, exitpriority=0)
        else:
            atexit.register(_at_exit)
    if not _signals_done:
        _install()


def forget() -> None:
    """In a forked child: nothing is its own yet, and signals do what they did before."""
    global _signals_done, _waits_at_exit
    for number, before in _previous.items():
        if signal.getsignal(number) is _on_signal:
            # Refused to a thread that Python does not know for the main one.
            with contextlib.suppress(ValueError):
                signal.signal(number, before)
    _previous.clear()
    _signals_done = False
    atexit.unregister(_at_exit)
    _waits_at_exit = False


def _install() -> None:
    global _signals_done
    # A worker's parent ends it by SIGTERM, which must do so at once: a handler in Python may come too late for the
    # locks that workers wait for, and the parent would wait for ever.
    if (
        _disabled
        or _is_worker()
        or any(os.environ.get(name, "").lower() in ("1", "true", "yes", "on") for name in _SWITCHES)
    ):
        _signals_done = True
        return
    # Python allows it nowhere else; the main thread does it as soon as it makes a call.
    if threading.current_thread() is not threading.main_thread():
        return
    _signals_done = True
    for number in _SIGNALS:
        before = signal.getsignal(number)
        # Ignored on purpose (nohup), or handled by something that cannot be called.
        if before is None or before == signal.SIG_IGN:
            continue
        if number == signal.SIGINT and _returns_to_prompt():
            continue
        try:
            signal.signal(number, _on_signal)
        except ValueError:
            # An interpreter beside the main one.
            return
        _previous[number] = before


def _is_worker() -> bool:
    """Whether this is a process of `multiprocessing`, which belongs to another."""
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _returns_to_prompt() -> bool:
    """Whether Ctrl-C ends what was typed and not the process: at a prompt, in a notebook."""
    return hasattr(sys, "ps1") or bool(getattr(builtins, "__IPYTHON__", False))


def _on_signal(number: int, frame: Optional[FrameType]) -> None:
    again = _native.is_repeated(number)
    # Whoever does not want to wait for the end any longer. A terminal that closes says so twice.
    if _native.is_cleaning() and number != signal.SIGHUP and not again:
        os._exit(128 + number)
    ours = again or _native.owned_count() > 0
    if ours:
        _native.clean_up()
        if _is_lost(frame):
            # The program would go on as if nothing had been said, but without its sandboxes.
            _native.repeat_signal(number)
            return
    before = _previous.get(number, signal.SIG_DFL)
    if callable(before):
        before(number, frame)
    elif ours:
        raise SystemExit(128 + number)
    else:
        # As if nothing had ever been installed.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _is_lost(frame: Optional[FrameType]) -> bool:
    """Whether an exception would be: Python drops what an object raises that is being destroyed."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


def _at_exit() -> None:
    deadline = time.monotonic() + _EXIT_SECONDS
    failed: list[tuple[str, Any]] = []
    for _ in range(_EXIT_ROUNDS):
        if not _native.owned_count():
            return
        cleaning = _native.clean_up()
        if not cleaning.wait(max(0.0, deadline - time.monotonic())):
            break
        outcome = cleaning.outcome()
        failed = outcome[1] if outcome and outcome[0] else []
    for sandbox_id, failure in failed:
        _log.warning("sandbox %s was not stopped: %s", sandbox_id, _errors.error(failure))
    left = _native.owned_ids()
    if left:
        _log.warning("left to the daemon, which ends them after its grace period: %s", ", ".join(left))
