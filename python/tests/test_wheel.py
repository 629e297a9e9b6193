"""The wheel: it is all that a machine needs, and what runs from it outlives it."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.home import LATE_SECONDS, Home
from helpers.installed import Installed, daemons, interpreters
from helpers.script import Script, Scripts

from support.kernel import wait_until_nothing_is_left

README = Path(__file__).parents[1] / "README.md"
PYTHONS = interpreters()
# The oldest and the newest; the real wheel's proof is with all of them.
STEP = 1 if os.environ.get("EBBTIDE_TEST_EVERY_PYTHON") else max(len(PYTHONS) - 1, 1)
TRIED = list(PYTHONS)[::STEP]

# `cargo xtask test --python` makes one of the debug build, `cargo xtask wheel --prove` has the real one.
pytestmark = pytest.mark.skipif("EBBTIDE_TEST_WHEEL" not in os.environ, reason="EBBTIDE_TEST_WHEEL names no wheel")

HOLDER = """
import sys
from ebbtide import Sandbox

sandbox = Sandbox.run().wait()
print("ready", sandbox.sandbox_id, flush=True)
sys.stdin.readline()
with Sandbox.run() as another:
    assert another.exec(["echo", "new"]).result().stdout == "new\\n"
assert sandbox.exec(["echo", "held"]).result().stdout == "held\\n"
sandbox.stop().result()
"""


@pytest.fixture
def apart(tmp_path: Path) -> Iterator[Home]:
    """A home that only installed packages use, by the program that they bring."""
    directory = tmp_path / "apart"
    directory.mkdir()
    home = Home(directory)
    yield home
    home.shut_down()
    wait_until_nothing_is_left(home.marks())


@pytest.fixture
def installed(tmp_path: Path) -> Installed:
    """The wheel in an environment of the Python that runs the tests."""
    return Installed(tmp_path / "installed", PYTHONS[f"python3.{sys.version_info.minor}"])


def environment(home: Home) -> dict[str, str]:
    """What finds the home, and no program that was not installed."""
    return {name: value for name, value in home.environment().items() if name != "EBBTIDE_BIN"}


def output(home: Home, *command: str) -> str:
    done = subprocess.run(command, env=environment(home), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command} failed: {done.stdout}{done.stderr}"
    return done.stdout


def end(holder: Script) -> None:
    """Lets a holder go on, which ends its input."""
    ended = holder.finish()
    assert ended.code == 0, ended


@pytest.fixture
def holders(apart: Home, installed: Installed, tmp_path: Path) -> Iterator[Scripts]:
    """Programs that run in that environment."""
    scripts = Scripts(tmp_path, environment(apart), python=installed.python)
    yield scripts
    scripts.close()


@pytest.mark.parametrize("version", TRIED)
def test_the_wheel_is_all_that_the_quick_start_needs(version: str, apart: Home, tmp_path: Path) -> None:
    installed = Installed(tmp_path / "installed", PYTHONS[version])
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    assert output(apart, installed.python, "-c", found[1]) == "hello\n\n"
    assert output(apart, installed.ebb, "run", "--", "echo", "hello") == "hello\n"
    assert installed.program.stat().st_mode & 0o777 == 0o755
    assert list(daemons(apart).values()) == [str(installed.program)]


def test_a_removed_wheel_leaves_its_sandboxes_with_their_owners(
    apart: Home, installed: Installed, holders: Scripts
) -> None:
    nobodys = output(apart, installed.ebb, "create").strip()
    lives, killed = holders.start(HOLDER), holders.start(HOLDER)
    (held,), (orphan,) = lives.wait_for("ready"), killed.wait_for("ready")
    installed.uninstall()
    ((daemon, program),) = daemons(apart).items()
    assert program.endswith(" (deleted)"), program

    # Another package's program is served, and so is who has loaded this one.
    assert sorted(apart.running()) == sorted([nobodys, held, orphan])
    assert apart.ebb("exec", nobodys, "--", "echo", "there") == "there\n"
    end(lives)
    assert sorted(apart.running()) == sorted([nobodys, orphan])

    # Without a program, without a daemon and without an owner it still ends; nobody's does not.
    os.kill(daemon, signal.SIGKILL)
    killed.signal(signal.SIGKILL)
    apart.wait_until_running(1, LATE_SECONDS)
    assert apart.running() == [nobodys]
    assert apart.ebb("exec", nobodys, "--", "echo", "there") == "there\n"
    apart.ebb("stop", nobodys)


def test_a_wheel_is_replaced_under_live_sandboxes(apart: Home, installed: Installed, holders: Scripts) -> None:
    nobodys = output(apart, installed.ebb, "create").strip()
    holder = holders.start(HOLDER)
    (held,) = holder.wait_for("ready")
    (daemon,) = daemons(apart)
    installed.install()

    # The new package is served by the old daemon.
    assert output(apart, installed.ebb, "exec", held, "--", "echo", "there") == "there\n"
    stop = f"from ebbtide import Sandbox; Sandbox.from_id({nobodys!r}).result().stop().result()"
    output(apart, installed.python, "-c", stop)
    assert daemons(apart)[daemon].endswith(" (deleted)")
    assert len(daemons(apart)) == 1

    # The next daemon is the new package's, and serves the old package.
    os.kill(daemon, signal.SIGTERM)
    assert held in output(apart, installed.ebb, "list", "--json")
    assert list(daemons(apart).values()) == [str(installed.program)]
    end(holder)
    assert apart.running() == []
