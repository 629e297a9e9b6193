"""Python programs in processes of their own."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

SECONDS = 120


class Script:
    """A program that runs."""

    def __init__(
        self, path: Path, environment: dict[str, str], python: str, *options: str, arguments: tuple[str, ...] = ()
    ) -> None:
        command = [python, *options, str(path), *arguments]
        pipe = subprocess.PIPE
        # In a process group of its own, as a terminal would have it.
        self.process = subprocess.Popen(
            command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        )
        self.said: list[str] = []

    def wait_for(self, word: str) -> list[str]:
        """Waits until it says this; returns the rest of that line."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append(line)
            if line.split(" ")[0].strip() == word:
                return line.split()[1:]
        raise AssertionError(f"it ended without {word!r}: {self.finish()}")

    def signal(self, number: int) -> None:
        """As a terminal or another process would."""
        self.process.send_signal(number)

    def finish(self, seconds: float = SECONDS) -> "Ended":
        """Waits for its end."""
        try:
            stdout, stderr = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            stdout, stderr = self.process.communicate()
            raise AssertionError(f"it hangs\n{''.join(self.said)}{stdout}\n{stderr}") from None
        return Ended(self.process.returncode, "".join(self.said) + stdout, stderr)


class Ended:
    """What a program did."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


class Scripts:
    """Makes programs that find one home."""

    def __init__(self, directory: Path, environment: dict[str, str], python: str = sys.executable) -> None:
        self._directory = directory
        self._environment = environment
        self._python = python
        self._started: list[Script] = []

    def start(self, text: str, *options: str, arguments: tuple[str, ...] = (), **environment: str) -> Script:
        """Starts a program; `options` are Python's, before its file."""
        path = self._directory / f"script{len(self._started)}.py"
        path.write_text(textwrap.dedent(text))
        script = Script(path, {**self._environment, **environment}, self._python, *options, arguments=arguments)
        self._started.append(script)
        return script

    def run(self, text: str, *options: str, seconds: float = SECONDS, **environment: str) -> Ended:
        """Runs a program to its end."""
        return self.start(text, *options, **environment).finish(seconds)

    def run_as_module(self, module: str, text: str, seconds: float = SECONDS) -> Ended:
        """Runs a program by a module that runs programs: `python -m MODULE PROGRAM`."""
        return self.start(text, "-m", module).finish(seconds)

    def check(self, text: str, *options: str, **environment: str) -> Ended:
        """Runs a program, which must succeed."""
        ended = self.run(text, *options, **environment)
        assert ended.code == 0, ended
        return ended

    def close(self) -> None:
        """Ends what a failed test has left."""
        for script in self._started:
            if script.process.poll() is None:
                os.killpg(script.process.pid, signal.SIGKILL)
            script.process.communicate()
