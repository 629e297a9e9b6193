"""How an event loop learns that something is over.

Each loop has one descriptor that the core makes readable, so nothing of the core's threads runs Python, and no thread
of Python waits for the loop.
"""

from __future__ import annotations

import asyncio
import itertools
from weakref import WeakKeyDictionary

from ebbtide._native import Notifier, Operation


class _Watch:
    """What one event loop waits for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._notifier = Notifier()
        self._numbers = itertools.count()
        self._futures: dict[int, asyncio.Future[None]] = {}
        loop.add_reader(self._notifier.fileno(), self._wake)

    def future(self, loop: asyncio.AbstractEventLoop, operation: Operation) -> asyncio.Future[None]:
        """A future that is done when the operation is over."""
        number = next(self._numbers)
        future: asyncio.Future[None] = loop.create_future()
        self._futures[number] = future
        if not operation.watch(self._notifier, number):
            del self._futures[number]
            future.set_result(None)
        return future

    def _wake(self) -> None:
        for number in self._notifier.drain():
            future = self._futures.pop(number)
            # Whoever waited may have been cancelled.
            if not future.done():
                future.set_result(None)


_watches: WeakKeyDictionary[asyncio.AbstractEventLoop, _Watch] = WeakKeyDictionary()


async def over(operation: Operation) -> None:
    """Waits until an operation is over, on whichever loop runs. Cancelled, it leaves the operation alone."""
    if operation.done():
        return
    loop = asyncio.get_running_loop()
    watch = _watches.get(loop)
    if watch is None:
        watch = _watches[loop] = _Watch(loop)
    await watch.future(loop, operation)


def forget() -> None:
    """In a forked child: the loops and what they wait for are the parent's."""
    global _watches
    _watches = WeakKeyDictionary()
