"""One machine and one home for all tests of a session."""

import fcntl
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.home import Home
from helpers.script import Scripts

from ebbtide import _native
from support.kernel import wait_until_nothing_is_left

# Shared with the other end-to-end tests: only one session at a time looks at the whole machine.
LOCK = Path(tempfile.gettempdir()) / "ebbtide-end-to-end.lock"

# What a shell runs in the background ignores Ctrl-C, and under `nohup` SIGHUP; so would all that is started here to be
# ended by them.
for number, default in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, default)


@pytest.fixture(scope="session")
def home() -> Iterator[Home]:
    """A home that the package finds by its environment. Nothing of it is left at the end."""
    with LOCK.open("a") as lock, tempfile.TemporaryDirectory(prefix="ebb-python-") as directory:
        # Bounded by the runner's limit on whoever holds it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        home = Home(Path(directory))
        os.environ.update(home.environment())
        os.environ.pop("EBBTIDE_URL", None)
        try:
            yield home
        finally:
            # What a test has had ended by others is still ours as far as this process knows, whose end would start a
            # daemon to ask.
            _native.clean_up().wait(60)
            home.shut_down()
        wait_until_nothing_is_left(home.marks())


@pytest.fixture
def scripts(home: Home, tmp_path: Path) -> Iterator[Scripts]:
    """Python programs in processes of their own, which find the home."""
    scripts = Scripts(tmp_path, home.environment())
    yield scripts
    scripts.close()


@pytest.fixture(autouse=True)
def nothing_is_left(home: Home) -> Iterator[None]:
    """A test ends what it starts, or has it ended."""
    yield
    home.wait_until_running(0, seconds=60)
