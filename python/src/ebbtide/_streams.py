"""What is read from a sandbox piece by piece, and written to it."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Iterator
from typing import Callable, Generic, Optional, TypeVar

from ebbtide import _arguments, _errors, _loop
from ebbtide._native import Operation, Process, Reader
from ebbtide._operation import OperationRef
from ebbtide.exceptions import SandboxExecutionError

S = TypeVar("S")

_PIECE, _NOTHING_YET, _END = 0, 1, 2


class StreamReader(Generic[S]):
    """Something that comes piece by piece: iterate over it, with `for` or with `async for`.

    The pieces are as they came, not lines, unless whatever gave this says otherwise. There is one reader: what one
    loop has taken, another does not get. A reader that is given up, by a timeout for example, has lost nothing.

    Examples:
        >>> for piece in sandbox.exec(["make"]).stdout:
        ...     print(piece, end="")
    """

    def __init__(
        self, reader: Reader, decoded: Callable[[bytes, bool], S], *, sandbox_id: Optional[str] = None
    ) -> None:
        self._reader = reader
        self._decoded = decoded
        self._sandbox_id = sandbox_id
        self._over = False

    def __iter__(self) -> Iterator[S]:
        return self

    def __aiter__(self) -> AsyncIterator[S]:
        return self

    def __next__(self) -> S:
        while True:
            piece = self._take()
            if piece is not None:
                return piece
            if self._over:
                raise StopIteration
            self._reader.readable().wait()

    async def __anext__(self) -> S:
        while True:
            piece = self._take()
            if piece is not None:
                return piece
            if self._over:
                raise StopAsyncIteration
            await _loop.over(self._reader.readable())

    def close(self) -> None:
        """Reads no more; whoever waits for a piece gets the end. What it read from goes on without it."""
        self._over = True
        self._reader.close()

    def _take(self) -> Optional[S]:
        """A piece if there is one; `None` if there is none yet, or at the end."""
        while not self._over:
            state, value = self._reader.read()
            if state == _NOTHING_YET:
                return None
            if state == _PIECE:
                # Half a character says nothing yet.
                if piece := self._decoded(value, False):
                    return piece
                continue
            self._over = True
            if state == _END:
                return self._decoded(b"", True) or None
            raise _errors.error(value, sandbox_id=self._sandbox_id)
        return None


def as_text() -> Callable[[bytes, bool], str]:
    """Pieces as text. Characters are not cut; what is no UTF-8 is replaced."""
    return codecs.getincrementaldecoder("utf-8")("replace").decode


def as_bytes(piece: bytes, _last: bool) -> bytes:
    """Pieces as they are."""
    return piece


class StreamWriter:
    r"""The standard input of a command.

    Writes are done in order. A command that does not read makes them wait, not the caller.

    Examples:
        >>> process = sandbox.exec(["sort"], stdin=True)
        >>> process.stdin.writeline("pear")
        >>> process.stdin.writeline("apple")
        >>> process.stdin.close()
        >>> process.result().stdout
        'apple\npear\n'
    """

    def __init__(self, process: Process, exit: Operation) -> None:
        self._process = process
        self._exit = exit
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether it was closed, or the command has ended."""
        return self._closed or self._exit.done()

    def write(self, data: bytes) -> OperationRef[None]:
        """Writes, behind what was written before.

        Args:
            data: What to write.

        Returns:
            An operation that is over once the command's input has taken it.

        Raises:
            TypeError: `data` is not bytes.
            SandboxExecutionError: It was closed, or the command has ended.
        """
        piece = _arguments.data("data", data)
        if self._closed:
            raise SandboxExecutionError("the input of this command was closed")
        if self._exit.done():
            raise SandboxExecutionError("the command has ended and takes no more input")
        return OperationRef(self._process.write(piece))

    def writeline(self, text: str, encoding: str = "utf-8") -> OperationRef[None]:
        """Writes a line of text; the newline is added.

        Args:
            text: The line without its newline.
            encoding: How the text becomes bytes; UTF-8 by default.

        Returns:
            As `write()`.
        """
        return self.write(f"{_arguments.text('text', text)}\n".encode(encoding))

    def close(self) -> OperationRef[None]:
        """Says that nothing more comes, behind what was written before. May be called again."""
        if self._closed or self._exit.done():
            self._closed = True
            return OperationRef._of(None)
        self._closed = True
        return OperationRef(self._process.close_stdin())
