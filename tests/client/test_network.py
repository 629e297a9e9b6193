"""What becomes of calls that are on their way when the network, or the daemon, fails for a moment."""

import contextlib
import time
from collections.abc import Iterator

import pytest
from cwsandbox import CWSandboxError, Sandbox

from support.daemon import Daemon
from support.relay import Relay

# How long a call may take that has to answer, whatever that is.
LIMIT = 60
AWAY = 3


@pytest.fixture
def relay(daemon: Daemon, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """The way of every new call to the daemon."""
    relay = Relay(daemon.port)
    monkeypatch.setenv("CWSANDBOX_BASE_URL", relay.url)
    yield relay
    relay.close()


def _reset(relay: Relay, daemon: Daemon) -> None:
    relay.reset()


def _silence(relay: Relay, daemon: Daemon) -> None:
    relay.be_silent()
    time.sleep(AWAY)
    relay.heal()


def _restart(relay: Relay, daemon: Daemon) -> None:
    daemon.kill()
    daemon.start()


def _answer(sandbox: Sandbox) -> str:
    """What a command says. A client that met nobody fails for a while before it tries again."""
    until = time.monotonic() + LIMIT
    while True:
        try:
            return sandbox.exec(["echo", "alive"]).result(timeout=LIMIT).stdout
        except CWSandboxError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


@pytest.mark.parametrize("trouble", [_reset, _silence, _restart])
def test_a_call_on_its_way_works_or_is_an_error_of_the_client_and_the_sandbox_goes_on(
    daemon: Daemon, relay: Relay, trouble
):
    with Sandbox.run(tags=["network"]) as sandbox:
        sandbox.wait(timeout=LIMIT)
        command = sandbox.exec(["sh", "-c", "sleep 1; echo done"], timeout_seconds=LIMIT / 2)
        listing = Sandbox.list(tags=["network"])
        other = Sandbox(command="sleep", args=["1000"], tags=["network"])
        started = other.start()
        assert relay.is_used
        trouble(relay, daemon)
        begun = time.monotonic()
        for call, expected in (
            (lambda: command.result(timeout=LIMIT).stdout, "done\n"),
            (lambda: len(listing.result(timeout=LIMIT)) >= 1, True),
            (lambda: started.result(timeout=LIMIT), None),
        ):
            # One that fails says so by name; the daemon may or may not have done it.
            with contextlib.suppress(CWSandboxError):
                assert call() == expected
        assert time.monotonic() - begun < LIMIT
        assert _answer(sandbox) == "alive\n"
        for left in Sandbox.list(tags=["network"]).result(timeout=LIMIT):
            if left.sandbox_id != sandbox.sandbox_id:
                left.stop(missing_ok=True).result(timeout=LIMIT)
