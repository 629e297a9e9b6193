"""Terminals."""

import pytest
from cwsandbox import SandboxExecutionError, TerminalSession

LIMIT = 60


class Screen:
    """What a terminal has shown so far."""

    def __init__(self, terminal: TerminalSession) -> None:
        self.terminal = terminal
        self.shown = b""
        self._output = iter(terminal.output)

    def type(self, text: str) -> None:
        self.terminal.stdin.write(text.encode()).result(timeout=LIMIT)

    def wait_for(self, text: str) -> None:
        """Returns once `text` is shown; what was shown before it is forgotten."""
        while text.encode() not in self.shown:
            self.shown += next(self._output)
        self.shown = self.shown.split(text.encode(), 1)[1]


def test_a_shell_has_a_terminal_of_the_size_that_was_asked_for_and_follows_a_resize(box):
    terminal = box.shell(["/bin/sh"], width=100, height=30)
    screen = Screen(terminal)
    screen.type("stty size\n")
    screen.wait_for("30 100")
    terminal.resize(77, 22)
    screen.type("stty size\n")
    screen.wait_for("22 77")
    screen.type("exit 5\n")
    assert terminal.wait(timeout=LIMIT) == 5


def test_the_default_shell_prompts_and_ends_with_control_d(box):
    terminal = box.shell()
    screen = Screen(terminal)
    screen.type("PS1='rea''dy> '\n")
    screen.wait_for("ready> ")
    screen.type("\x04")
    assert terminal.result(timeout=LIMIT).returncode == 0


def test_control_c_interrupts_what_runs_and_not_the_shell(box):
    terminal = box.shell(["/bin/sh"])
    screen = Screen(terminal)
    # The program says by itself that it is there: the shell alone would be interrupted before it.
    screen.type("sh -c 'echo be\"\"gun; exec sleep 1000'\n")
    screen.wait_for("begun")
    screen.type("\x03")
    screen.type("echo still''here\n")
    screen.wait_for("stillhere")
    screen.type("exit 6\n")
    assert terminal.wait(timeout=LIMIT) == 6


def test_a_terminal_that_is_over_cannot_be_resized_or_written_to(box):
    terminal = box.shell(["/bin/sh", "-c", "exit 3"])
    assert terminal.wait(timeout=LIMIT) == 3
    with pytest.raises(SandboxExecutionError):
        terminal.resize(80, 24)
    with pytest.raises(SandboxExecutionError):
        terminal.stdin.write(b"x").result(timeout=LIMIT)
