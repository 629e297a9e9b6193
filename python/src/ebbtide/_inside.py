"""What is done in a sandbox."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Sequence
from datetime import datetime, timezone
from typing import Any, Optional, Union

from ebbtide import _arguments, _streams, _upload
from ebbtide._handle import Handle
from ebbtide._keywords import check_keywords
from ebbtide._operation import OperationRef
from ebbtide._process import Process, TerminalSession
from ebbtide._streams import StreamReader


class Inside(Handle):
    """Commands, files and the log of one sandbox."""

    def exec(
        self,
        command: Sequence[str],
        *,
        cwd: Optional[str] = None,
        check: bool = False,
        timeout_seconds: Optional[float] = None,
        stdin: bool = False,
        **other: Any,
    ) -> Process:
        """Runs a command in it. Starts the sandbox if need be, and waits until it runs.

        Args:
            command: Program and arguments, e.g. `["sh", "-c", "ls | wc -l"]`.
            cwd: The directory to run it in, an absolute path; that of the sandbox by default.
            check: Whether another exit code than 0 is an error; `False` by default.
            timeout_seconds: How long it may take from when the sandbox runs; it is ended then. Without bound by
                default.
            stdin: Whether it has a standard input to be written to; `False` by default, it reads an empty one then.

        Returns:
            The command, which runs whether or not anybody waits.

        Raises:
            TypeError: Something is of a wrong type.
            ValueError: The command is empty, or `cwd` is not absolute.

        Examples:
            >>> sandbox.exec(["uname", "-n"], check=True, timeout_seconds=10).result().stdout
        """
        names = ("command", "cwd", "check", "timeout_seconds", "stdin")
        check_keywords("Sandbox.exec()", other, names)
        argv = _arguments.command(command)
        _arguments.text("cwd", cwd, optional=True)
        if cwd is not None and not cwd.startswith("/"):
            raise ValueError(f"cwd is {cwd!r}; accepted: an absolute path")
        limit = _arguments.seconds("timeout_seconds", timeout_seconds, optional=True)
        _arguments.flag("check", check)
        _arguments.flag("stdin", stdin)
        self._prepare()
        process = self._core.exec(argv, cwd, check, limit, stdin)
        return Process(process, argv, stdin=stdin, sandbox_id=self.sandbox_id)

    def shell(
        self,
        command: Optional[Sequence[str]] = None,
        *,
        width: Optional[int] = None,
        height: Optional[int] = None,
        **other: Any,
    ) -> TerminalSession:
        """Runs a command on a terminal.

        Args:
            command: Program and arguments; `["/bin/bash"]` by default.
            width: Columns of the terminal; 80 by default.
            height: Rows of the terminal; 24 by default.

        Returns:
            The terminal, on which the command runs.
        """
        check_keywords("Sandbox.shell()", other, ("command", "width", "height"))
        argv = ["/bin/bash"] if command is None else _arguments.command(command)
        columns = _arguments.count("width", width, least=1, most=65535, optional=True) or 80
        rows = _arguments.count("height", height, least=1, most=65535, optional=True) or 24
        self._prepare()
        process = self._core.exec(argv, terminal=(columns, rows))
        return TerminalSession(process, argv, sandbox_id=self.sandbox_id)

    def read_file(self, filepath: str, *, timeout_seconds: Optional[float] = None, **other: Any) -> OperationRef[bytes]:
        """The content of a file. One that is too large for memory is for `read_file_streaming()`.

        Args:
            filepath: Its path in the sandbox.
            timeout_seconds: Accepted for other clients' sake; a read may take 300 s.

        Raises:
            SandboxFileError: The path leads to no file that can be read; when the result is asked for.
        """
        check_keywords("Sandbox.read_file()", other, ("filepath", "timeout_seconds"))
        _arguments.text("filepath", filepath)
        _arguments.seconds("timeout_seconds", timeout_seconds, optional=True)
        return self._needed(lambda: self._core.read_file(filepath))

    def write_file(
        self, filepath: str, contents: bytes, *, timeout_seconds: Optional[float] = None, **other: Any
    ) -> OperationRef[None]:
        """Replaces the content of a file at once, or makes it and the directories on the way to it.

        Args:
            filepath: Its path in the sandbox.
            contents: What it is to hold.
            timeout_seconds: Accepted for other clients' sake; a write may take 300 s.

        Raises:
            SandboxFileError: No file can be written at the path; when the result is asked for. The old one is still
                there.
        """
        check_keywords("Sandbox.write_file()", other, ("filepath", "contents", "timeout_seconds"))
        _arguments.text("filepath", filepath)
        content = _arguments.data("contents", contents)
        _arguments.seconds("timeout_seconds", timeout_seconds, optional=True)
        return self._needed(lambda: self._core.write_file(filepath, content))

    def read_file_streaming(
        self, filepath: str, *, timeout_seconds: Optional[float] = None, **other: Any
    ) -> StreamReader[bytes]:
        """A file in pieces. Reading ends with the reader.

        Args:
            filepath: Its path in the sandbox.
            timeout_seconds: Accepted for other clients' sake.

        Raises:
            SandboxFileError: The path leads to no file that can be read; when the first piece is asked for.
        """
        check_keywords("Sandbox.read_file_streaming()", other, ("filepath", "timeout_seconds"))
        _arguments.text("filepath", filepath)
        self._prepare()
        reader = self._core.read_file_stream(filepath)
        return StreamReader(reader, _streams.as_bytes, sandbox_id=self.sandbox_id)

    def write_file_streaming(
        self,
        filepath: str,
        source: Union[bytes, Iterable[bytes], AsyncIterable[bytes]],
        *,
        timeout_seconds: Optional[float] = None,
        **other: Any,
    ) -> OperationRef[None]:
        """Writes a file in pieces. It is there once all of it is, and not at all if the source fails.

        Args:
            filepath: Its path in the sandbox.
            source: Bytes, or something that gives bytes piece by piece, which happens in a thread of its own.
            timeout_seconds: Accepted for other clients' sake.

        Raises:
            TypeError: A piece is not bytes; when the result is asked for.
            SandboxFileError: No file can be written at the path; when the result is asked for.
        """
        check_keywords("Sandbox.write_file_streaming()", other, ("filepath", "source", "timeout_seconds"))
        _arguments.text("filepath", filepath)
        if isinstance(source, (bytes, bytearray, memoryview)):
            return self.write_file(filepath, bytes(source))
        self._prepare()
        return _upload.start(self._core.write_file_stream(filepath), source)

    def stream_logs(
        self,
        *,
        follow: bool = False,
        tail_lines: Optional[int] = None,
        since_time: Optional[datetime] = None,
        timestamps: bool = False,
        timeout_seconds: Optional[float] = None,
        **other: Any,
    ) -> StreamReader[str]:
        """The output of its main command, line by line, while it runs and after its end.

        A reader goes on by itself, without a lost or a doubled byte, when the connection breaks or the daemon is
        replaced.

        Args:
            follow: Whether to go on until the sandbox has ended; `False` by default: to end with what is there.
            tail_lines: Only the last so many lines.
            since_time: Only what was written at this time or later; without a time zone it is taken as UTC.
            timestamps: Whether each line begins with its time.
            timeout_seconds: How long to read; without bound by default.

        Returns:
            The lines, each with its newline.

        Examples:
            >>> for line in sandbox.stream_logs(follow=True):
            ...     print(line, end="")
        """
        names = ("follow", "tail_lines", "since_time", "timestamps", "timeout_seconds")
        check_keywords("Sandbox.stream_logs()", other, names)
        _arguments.flag("follow", follow)
        _arguments.flag("timestamps", timestamps)
        tail = _arguments.count("tail_lines", tail_lines, least=0, most=2**31 - 1, optional=True)
        limit = _arguments.seconds("timeout_seconds", timeout_seconds, optional=True)
        since = None
        if since_time is not None:
            if not isinstance(since_time, datetime):
                raise _arguments.wrong("since_time", since_time, "a datetime")
            aware = since_time if since_time.tzinfo else since_time.replace(tzinfo=timezone.utc)
            since = max(0.0, aware.timestamp())
        self._prepare()
        reader = self._core.logs(follow, tail, since, timestamps, limit)
        return StreamReader(reader, lambda line, _last: line.decode("utf-8", "replace"), sandbox_id=self.sandbox_id)
