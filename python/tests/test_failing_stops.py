"""What could not be stopped is told of, stays with its process and is tried again."""

from helpers.home import LATE_SECONDS, Home
from helpers.script import Scripts

# Takes the daemon away, so that no stop can succeed, and gives it back.
AWAY = """
import json, logging, os, signal, subprocess, sys, time
import ebbtide
from ebbtide import Sandbox, SandboxError, Session, EbbtideError
logging.basicConfig(level=logging.WARNING, stream=sys.stdout, format="%(levelname)s %(name)s %(message)s")

def away():
    pid = int(open(os.environ["EBBTIDE_HOME"] + "/daemon.lock").read())
    os.kill(pid, signal.SIGKILL)
    # It is nobody's child here: gone once its number is.
    while os.path.exists(f"/proc/{pid}"):
        time.sleep(0.01)
    ebb[0] = os.environ["EBBTIDE_BIN"]
    os.environ["EBBTIDE_BIN"] = "/nonexistent"
    os.environ["PATH"] = "/nonexistent"

def back():
    os.environ["EBBTIDE_BIN"] = ebb[0]

ebb = [None]
"""


def test_the_exception_of_a_block_is_not_masked_by_a_failing_stop(home: Home, scripts: Scripts) -> None:
    ended = scripts.check(
        AWAY
        + """
for make in (lambda: Sandbox.run(), lambda: Session()):
    try:
        with make() as made:
            box = made if isinstance(made, Sandbox) else made.sandbox()
            box.wait()
            away()
            raise ZeroDivisionError("of the block")
    except ZeroDivisionError as error:
        print("told:", error)
    back()
"""
    )
    assert ended.stdout.count("told: of the block") == 2, ended
    assert ended.stdout.count("WARNING ebbtide") == 2, ended
    # The end of the process has tried again.
    assert home.running() == []


def test_a_failing_stop_is_an_error_where_the_block_has_none(home: Home, scripts: Scripts) -> None:
    ended = scripts.check(
        AWAY
        + """
try:
    with Sandbox.run() as box:
        box.wait()
        away()
except EbbtideError as error:
    print("told:", type(error).__name__)
back()
session = Session()
boxes = [session.sandbox().wait() for _ in range(2)]
away()
try:
    with session:
        pass
except SandboxError as error:
    assert sorted(id for id, _ in error.failures) == sorted(box.sandbox_id for box in boxes), error.failures
    assert error.__cause__ is not None
    print("told:", len(error.failures), session.sandbox_count, session.closed)
back()
session.close().result()
assert session.sandbox_count == 0
assert [box.status for box in boxes] == ["completed"] * 2
"""
    )
    assert ended.stdout == "told: DaemonError\ntold: 2 2 True\n", ended
    assert home.running() == []


def test_a_process_that_cannot_stop_its_sandboxes_says_so_and_leaves_them_to_the_daemon(
    home: Home, scripts: Scripts
) -> None:
    ended = scripts.check(AWAY + "boxes = [Sandbox.run().wait() for _ in range(2)]\naway()\n")
    assert ended.stdout.count("was not stopped") == 2, ended
    assert "left to the daemon" in ended.stdout, ended
    home.wait_until_running(0, LATE_SECONDS)
