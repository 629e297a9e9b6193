"""What is left of twenty sandboxes when their process ends, for each way of ending.

The table in docs/python.md has a row for each of these.
"""

import signal
import time

import pytest
from helpers.home import GRACE_SECONDS, LATE_SECONDS, Home
from helpers.script import Scripts

# Eight by themselves, four of them started by the first call that needs them, eight in a session, and four adopted.
PROGRAM = """
import os, signal, sys, time
import ebbtide
from ebbtide import Sandbox, Session

main = {}
alone = [Sandbox.run(tags=["exits"], **main) for _ in range(4)]
lazy = [Sandbox(tags=["exits"], **main) for _ in range(4)]
for sandbox in lazy:
    sandbox.exec(["true"]).result()
session = Session(tags=["exits"])
made = [session.sandbox(**main) for _ in range(8)]
ebbtide.results([sandbox.start() for sandbox in made])
for name in sys.argv[1:]:
    session.adopt(Sandbox.from_id(name).result())
assert session.sandbox_count == 12
print("ready", flush=True)
"""
WAIT = PROGRAM + "time.sleep(1000)\n"

# One that does not end when it is asked to, so that stopping its sandbox takes its grace period.
STUBBORN = ("sh", "-c", "trap '' TERM; while :; do sleep 1; done")
STUBBORN_WAIT = WAIT.replace("main = {}", f"main = {{'command': 'sh', 'args': {list(STUBBORN[1:])!r}}}").replace(
    # The process will wait for its sandboxes then.
    'print("ready"',
    'import atexit\natexit.register(print, "ending", flush=True)\nprint("ready"',
)

# The end of the program, its exit code, and how many are left at once. After the grace period of owners none is,
# neither of its own nor of those that it adopted.
ENDS = {
    "its last line": (PROGRAM, 0, 0),
    "sys.exit": (PROGRAM + "sys.exit(3)", 3, 0),
    "an uncaught exception": (PROGRAM + "raise RuntimeError('on purpose')", 1, 0),
    "an exception in a block": (
        PROGRAM + "with alone[0], session:\n    raise RuntimeError('on purpose')",
        1,
        0,
    ),
    "os._exit": (PROGRAM + "os._exit(4)", 4, 20),
}
SIGNALS = {
    "Ctrl-C": (signal.SIGINT, 130, 0),
    "SIGTERM": (signal.SIGTERM, 143, 0),
    "SIGHUP": (signal.SIGHUP, 129, 0),
    "kill -9": (signal.SIGKILL, -9, 20),
}


def look(home: Home, earliest: float, at_once: int) -> None:
    running = home.running("exits")
    # A busy machine may have looked too late.
    assert len(running) == at_once or (at_once and time.monotonic() > earliest + GRACE_SECONDS), running
    home.wait_until_running(0, LATE_SECONDS, "exits")


@pytest.fixture
def adopted(home: Home) -> list[str]:
    return [home.create("exits") for _ in range(4)]


@pytest.mark.parametrize("end", ENDS)
def test_what_is_left_when_a_program_ends_by(end: str, home: Home, scripts: Scripts, adopted: list[str]) -> None:
    text, code, at_once = ENDS[end]
    script = scripts.start(text, arguments=tuple(adopted))
    script.wait_for("ready")
    earliest = time.monotonic()
    ended = script.finish()
    assert ended.code == code, ended
    look(home, earliest, at_once)


@pytest.mark.parametrize("end", SIGNALS)
def test_what_is_left_when_a_program_is_ended_by(end: str, home: Home, scripts: Scripts, adopted: list[str]) -> None:
    number, code, at_once = SIGNALS[end]
    script = scripts.start(WAIT, arguments=tuple(adopted))
    script.wait_for("ready")
    assert len(home.running("exits")) == 20
    earliest = time.monotonic()
    script.signal(number)
    ended = script.finish()
    # An uncaught KeyboardInterrupt ends Python by the signal itself, which a shell shows as 130.
    assert ended.code in (code, -2 if code == 130 else code), ended
    look(home, earliest, at_once)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_what_is_left_when_a_program_is_ended_by_a_second(number: int, code: int, home: Home, scripts: Scripts) -> None:
    adopted = [home.create("exits", command=STUBBORN) for _ in range(4)]
    script = scripts.start(STUBBORN_WAIT, arguments=tuple(adopted))
    script.wait_for("ready")
    earliest = time.monotonic()
    script.signal(number)
    script.wait_for("ending")
    script.signal(number)
    # Before the sandboxes, which have ten seconds.
    ended = script.finish(seconds=8)
    assert ended.code == code, ended
    assert home.running("exits") or time.monotonic() > earliest + 9
    home.wait_until_running(0, LATE_SECONDS, "exits")


def test_what_is_left_when_a_program_is_killed_while_a_forked_child_of_it_lives(home: Home, scripts: Scripts) -> None:
    script = scripts.start(
        """
        import os, sys, time
        from ebbtide import Sandbox

        sandbox = Sandbox.run(tags=["exits"]).wait()
        if os.fork() == 0:
            # It holds whatever it has of its parent's, for longer than the test looks.
            os.close(1), os.close(2)
            time.sleep(60)
            os._exit(0)
        print("ready", flush=True)
        time.sleep(1000)
        """
    )
    script.wait_for("ready")
    script.signal(signal.SIGKILL)
    assert script.finish().code == -9
    home.wait_until_running(0, LATE_SECONDS, "exits")
