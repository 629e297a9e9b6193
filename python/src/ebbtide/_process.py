"""A command that runs in a sandbox."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any, Optional

from ebbtide import _arguments, _native, _streams
from ebbtide._operation import OperationRef, timed_out
from ebbtide._streams import StreamReader, StreamWriter
from ebbtide.exceptions import SandboxExecutionError, SandboxStreamTruncatedError


@dataclass(frozen=True)
class ProcessResult:
    """What a command did.

    Attributes:
        stdout: What it wrote to standard output, as text; what is no UTF-8 is replaced.
        stderr: What it wrote to standard error, as text.
        returncode: Its exit code; 128 plus the signal if a signal ended it.
        stdout_bytes: What it wrote to standard output, as it was.
        stderr_bytes: What it wrote to standard error, as it was.
        command: Program and arguments.
    """

    stdout: str
    stderr: str
    returncode: int
    stdout_bytes: bytes = field(default=b"", repr=False)
    stderr_bytes: bytes = field(default=b"", repr=False)
    command: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, command: list[str], returncode: int, stdout: bytes, stderr: bytes) -> ProcessResult:
        """From what the core has."""
        return cls(
            stdout=stdout.decode("utf-8", "replace"),
            stderr=stderr.decode("utf-8", "replace"),
            returncode=returncode,
            stdout_bytes=stdout,
            stderr_bytes=stderr,
            command=command,
        )


@dataclass(frozen=True)
class TerminalResult:
    """How a terminal session ended.

    Attributes:
        returncode: The exit code; 128 plus the signal if a signal ended it.
        command: Program and arguments.
    """

    returncode: int
    command: list[str] = field(default_factory=list)


# Program and arguments, exit code, both outputs, and whether those are whole.
_Exit = tuple[list[str], int, bytes, bytes, bool]


class _Command(OperationRef[Any]):
    """What a command with pipes and one on a terminal have in common."""

    __slots__ = ("_argv", "_exit", "_process", "stdin")

    def __init__(self, process: _native.Process, argv: list[str], *, stdin: bool, sandbox_id: Optional[str]) -> None:
        self._exit = process.exit()
        super().__init__(self._exit, sandbox_id=sandbox_id)
        self._process = process
        self._argv = argv
        self.stdin: Optional[StreamWriter] = StreamWriter(process, self._exit) if stdin else None
        """Its standard input, if it was asked for."""

    @property
    def command(self) -> list[str]:
        """Program and arguments."""
        return list(self._argv)

    @property
    def returncode(self) -> Optional[int]:
        """The exit code once it has ended; 128 plus the signal if a signal ended it. Never waits."""
        if not self._exit.done():
            return None
        try:
            exit: _Exit = super()._outcome()
        except SandboxExecutionError as error:
            return None if error.exec_result is None else error.exec_result.returncode
        except Exception:
            return None
        return exit[1]

    def poll(self) -> Optional[int]:
        """The same as `returncode`."""
        return self.returncode

    def wait(self, timeout: Optional[float] = None) -> int:
        """Waits for its end.

        Args:
            timeout: How many seconds to wait; without bound if `None`.

        Returns:
            The exit code; 128 plus the signal if a signal ended it.

        Raises:
            TimeoutError: It has not ended after `timeout` seconds. It goes on.
            EbbtideError: As `result()`.
        """
        code: int = self._ended(timeout)[1]
        return code

    def cancel(self) -> bool:
        """Ends the command. What it wrote until then stays readable.

        Returns:
            Whether it had not ended yet.
        """
        return self._process.cancel()

    def _ended(self, timeout: Optional[float]) -> _Exit:
        _arguments.number("timeout", timeout, optional=True)
        # Output that nobody reads must not hold up whoever waits for the end.
        self._process.expect()
        if not self._exit.wait(timeout):
            raise timed_out(f"the command {self._argv}", timeout)
        exit: _Exit = super()._outcome()
        return exit

    def __await__(self) -> Generator[Any, None, Any]:
        self._process.expect()
        return super().__await__()


class Process(_Command):
    r"""A command that runs in a sandbox: something to read, to write to, and to wait for.

    It was started by `Sandbox.exec()` and runs whether or not anybody waits or reads. `result()` and `await` have all
    that it wrote, also what was read from its streams, up to 64 MiB of each. Of a command that writes more, read the
    streams and `wait()` for its end.

    Attributes:
        stdout: What it writes to standard output, as text.
        stderr: What it writes to standard error, as text.
        stdin: Its standard input, if it was asked for by `exec(..., stdin=True)`; `None` otherwise.

    Examples:
        >>> process = sandbox.exec(["python3", "-c", "print(2 + 2)"])
        >>> process.result().stdout
        '4\n'
    """

    __slots__ = ("stderr", "stdout")

    def __init__(self, process: _native.Process, argv: list[str], *, stdin: bool, sandbox_id: Optional[str]) -> None:
        super().__init__(process, argv, stdin=stdin, sandbox_id=sandbox_id)
        self.stdout: StreamReader[str] = StreamReader(process.stdout(), _streams.as_text(), sandbox_id=sandbox_id)
        self.stderr: StreamReader[str] = StreamReader(process.stderr(), _streams.as_text(), sandbox_id=sandbox_id)

    def result(self, timeout: Optional[float] = None) -> ProcessResult:
        """Waits for its end and returns what it wrote and its exit code.

        Args:
            timeout: How many seconds to wait; without bound if `None`.

        Raises:
            TimeoutError: It has not ended after `timeout` seconds. It goes on.
            SandboxExecutionError: It could not be run, was given up, or was checked and returned another code than 0.
            SandboxCommandTimeoutError: It took longer than `exec()` allowed, and was ended.
            SandboxStreamTruncatedError: It wrote more than 64 MiB to one output.
            EbbtideError: The sandbox could not be started, or does not run.
        """
        self._ended(timeout)
        return self._outcome()

    def _outcome(self) -> ProcessResult:
        command, code, stdout, stderr, whole = super()._outcome()
        if not whole:
            raise SandboxStreamTruncatedError(
                f"the command {command} wrote more than 64 MiB, which is all that is kept; "
                f"it returned {code}. Read its streams as they come, and use wait() for its end"
            )
        return ProcessResult.of(command, code, stdout, stderr)


class TerminalSession(_Command):
    r"""A command on a terminal: what it shows, a keyboard, and a size.

    Attributes:
        output: What the terminal shows, as bytes; errors too.
        stdin: The keyboard: `b"\r"` is Enter, `b"\x03"` is Ctrl-C.

    Examples:
        >>> session = sandbox.shell(["bash"], width=120, height=40)
        >>> session.stdin.write(b"stty size; exit 3\\r")
        >>> session.wait()
        3
    """

    __slots__ = ("output",)

    stdin: StreamWriter

    def __init__(self, process: _native.Process, argv: list[str], *, sandbox_id: Optional[str]) -> None:
        super().__init__(process, argv, stdin=True, sandbox_id=sandbox_id)
        self.output: StreamReader[bytes] = StreamReader(process.stdout(), _streams.as_bytes, sandbox_id=sandbox_id)

    def resize(self, width: int, height: int) -> None:
        """Changes the size of the terminal; the programs on it hear of that.

        Args:
            width: Columns, 1 to 65535.
            height: Rows, 1 to 65535.

        Raises:
            SandboxExecutionError: The command has ended.
        """
        _arguments.count("width", width, least=1, most=65535)
        _arguments.count("height", height, least=1, most=65535)
        if self._exit.done():
            raise SandboxExecutionError("the command has ended, and its terminal with it")
        self._process.resize(width, height)

    def result(self, timeout: Optional[float] = None) -> TerminalResult:
        """Waits for its end.

        Args:
            timeout: How many seconds to wait; without bound if `None`.

        Raises:
            TimeoutError: It has not ended after `timeout` seconds. It goes on.
            EbbtideError: It could not be run, or the sandbox could not be started.
        """
        self._ended(timeout)
        return self._outcome()

    def _outcome(self) -> TerminalResult:
        command, code, *_ = super()._outcome()
        return TerminalResult(returncode=code, command=command)
