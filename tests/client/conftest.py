"""One machine, one daemon and one idle sandbox for all tests of a session."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cwsandbox import Sandbox

from support.daemon import Daemon
from support.features import has
from support.kernel import wait_until_nothing_is_left
from support.rpc import Rpc

# Shared with the end-to-end tests in Rust: only one session at a time looks at the whole machine.
LOCK = Path(tempfile.gettempdir()) / "ebbtide-end-to-end.lock"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Selects the tests of what this version of the client has."""
    items[:] = [item for item in items if all(has(mark.args[0]) for mark in item.iter_markers("needs"))]


@pytest.fixture(scope="session")
def daemon() -> Iterator[Daemon]:
    """A daemon that the client finds by its environment. Nothing of it is left at the end."""
    with LOCK.open("a") as lock, tempfile.TemporaryDirectory(prefix="ebb-client-") as directory:
        # Bounded by the runner's limit on whoever holds it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        daemon = Daemon(Path(directory))
        os.environ.update(CWSANDBOX_BASE_URL=daemon.url, CWSANDBOX_API_KEY=daemon.key)
        # gRPC would go through a proxy even to this machine.
        os.environ["no_proxy"] = "127.0.0.1"
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.shut_down()
        assert "panicked" not in daemon.log.read_text()
        wait_until_nothing_is_left(daemon.marks())


@pytest.fixture(scope="session")
def rpc(daemon: Daemon) -> Iterator[Rpc]:
    """The protocol by hand."""
    rpc = Rpc(f"127.0.0.1:{daemon.port}", daemon.key)
    yield rpc
    rpc.channel.close()


@pytest.fixture(scope="session")
def box(daemon: Daemon) -> Iterator[Sandbox]:
    """A sandbox that idles, for whatever needs one and does not end it."""
    with Sandbox.run(tags=["shared"]) as sandbox:
        sandbox.wait(timeout=60)
        yield sandbox


@pytest.fixture(autouse=True)
def nothing_but_the_shared_sandbox_runs_on(daemon: Daemon) -> Iterator[None]:
    """A test ends what it starts."""
    yield
    left = [
        sandbox.sandbox_id for sandbox in Sandbox.list().result(timeout=60) if sandbox.status == "running"
    ]
    shared = [sandbox.sandbox_id for sandbox in Sandbox.list(tags=["shared"]).result(timeout=60)]
    assert set(left) <= set(shared)
