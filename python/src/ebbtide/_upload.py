"""Writing a file from something that gives its pieces one by one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Iterable
from typing import Union

from ebbtide import _arguments
from ebbtide._native import FileWriter, Operation, Promise
from ebbtide._operation import OperationRef


def start(writer: FileWriter, source: Union[Iterable[bytes], AsyncIterable[bytes]]) -> OperationRef[None]:
    """Begins to write everything that the source gives, which a thread asks for."""
    if not isinstance(source, (AsyncIterable, Iterable)) or isinstance(source, str):
        raise _arguments.wrong("source", source, "bytes, or something that gives bytes piece by piece")
    promise = Promise()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            if isinstance(source, AsyncIterable):
                asyncio.run(_from_async(writer, source))
            else:
                _from_iterable(writer, source)
        except BaseException as error:
            failures.append(error)
        finally:
            promise.keep()

    def outcome(_: object) -> None:
        if failures:
            raise failures[0]

    threading.Thread(target=work, name="ebbtide-upload", daemon=True).start()
    return OperationRef(promise.operation(), outcome)


def _from_iterable(writer: FileWriter, source: Iterable[bytes]) -> None:
    _finish(writer.open())
    for piece in source:
        _finish(writer.write(_arguments.data("a piece of source", piece)))
    _finish(writer.commit())


async def _from_async(writer: FileWriter, source: AsyncIterable[bytes]) -> None:
    await OperationRef(writer.open())
    async for piece in source:
        await OperationRef(writer.write(_arguments.data("a piece of source", piece)))
    await OperationRef(writer.commit())


def _finish(operation: Operation) -> None:
    OperationRef[None](operation).result()
