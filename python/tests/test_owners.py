"""Who owns a sandbox, and what becomes of it."""

from datetime import timedelta

import pytest
from helpers.home import Home
from helpers.script import Scripts

from ebbtide import (
    ReceiptUnavailableError,
    Sandbox,
    SandboxOwnedError,
    SandboxPausedError,
    Session,
)

OWNER = """
import sys, time
from ebbtide import Sandbox

sandbox = Sandbox.run(tags=["owned"], orphan_grace_seconds=20).wait()
print("owns", sandbox.sandbox_id, flush=True)
time.sleep(1000)
"""


def test_an_orphan_is_found_and_adopted_and_ends_with_the_session(home: Home, scripts: Scripts) -> None:
    dead, alive = scripts.start(OWNER), scripts.start(OWNER)
    (orphan,), (owned,) = dead.wait_for("owns"), alive.wait_for("owns")
    dead.process.kill()
    dead.finish()
    with Session() as session:
        found = Sandbox.list(tags=["owned"], orphaned=True).result()
        assert [sandbox.sandbox_id for sandbox in found] == [orphan]
        assert found[0].ownership is None
        session.adopt(found[0])
        described = found[0].describe().result()
        assert described.ownership.kind == "owned"
        assert described.ownership.holder.mine
        assert found[0].ownership == described.ownership
        assert "You own it" in found[0].why()
        with pytest.raises(SandboxOwnedError) as refused:
            session.from_id(owned).result()
        assert str(alive.process.pid) in (refused.value.owner or "")
        since = refused.value.owned_since
        assert since is not None
        assert described.ownership.since is not None
        assert abs(since - described.ownership.since) < timedelta(minutes=5)
    assert described.end is None
    assert Sandbox.from_id(orphan).result().describe().result().end.reason == "session_closed"
    assert Sandbox.from_id(owned).result().status == "running"
    home.ebb("stop", "--grace=0", owned)


def test_a_paused_sandbox_says_so_and_a_stopped_one_what_it_held(home: Home) -> None:
    with Sandbox.run(idle_timeout_seconds=3600, on_idle="pause") as sandbox:
        sandbox.wait()
        assert sandbox.pause().result().policy.on_idle == "pause"
        with pytest.raises(SandboxPausedError):
            sandbox.exec(["true"]).result()
        sandbox.resume().result()
        sandbox.exec(["true"], check=True).result()
        with pytest.raises(ReceiptUnavailableError):
            sandbox.receipt().result()
    receipt = sandbox.receipt().result()
    assert receipt.left == []
    assert receipt.released["cgroups"] > 0


def test_what_is_to_be_kept_outlives_its_block_and_not_its_stop(home: Home) -> None:
    with Sandbox.run(keep="always", keep_as="running", keep_for_seconds=60) as sandbox:
        sandbox.wait()
    described = sandbox.describe().result()
    assert described.ownership.kind == "kept", described
    sandbox.stop(graceful_shutdown_seconds=0).result()
    assert sandbox.describe().result().end.reason == "stopped"


def test_a_main_command_that_fails_leaves_its_files_until_a_stop(home: Home) -> None:
    script = "echo half > /tmp/result; exit 3"
    with Sandbox.run("sh", "-c", script, keep="on_failure", keep_for_seconds=60) as sandbox:
        sandbox.wait_until_complete(timeout=60).result()
        assert sandbox.returncode == 3
    assert sandbox.files_until is not None
    assert sandbox.read_file("/tmp/result").result() == b"half\n"
    assert sandbox.exec(["cat", "/tmp/result"]).result().stdout == "half\n"
    assert sandbox.describe().result().main_end.exit_code == 3
    sandbox.stop(graceful_shutdown_seconds=0).result()
    assert sandbox.files_until is None
    end = sandbox.describe().result().end
    assert (end.reason, end.exit_code) == ("main_exited", 3)


def test_one_that_is_let_go_belongs_to_nobody(home: Home) -> None:
    sandbox = Sandbox.run(max_lifetime_seconds=60)
    sandbox.detach()
    assert sandbox.describe().result().ownership.kind == "detached"
    sandbox.adopt()
    assert sandbox.describe().result().ownership.kind == "owned"
    sandbox.stop(graceful_shutdown_seconds=0).result()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"keep": "sometimes"}, "keep is 'sometimes'; accepted: never, on_failure, always, attached"),
        ({"keep_as": "memory"}, "keep_as is 'memory'; accepted: running, paused, files"),
        ({"keep_for_seconds": 0}, "keep_for_seconds is 0 s"),
        ({"orphan_grace_seconds": -1}, "orphan_grace_seconds is -1 s"),
        ({"orphan_grace_seconds": 0.5}, "orphan_grace_seconds is 0.5 s; accepted: whole seconds"),
        ({"on_idle": "stop"}, "on_idle is 'stop' for what is never idle"),
        ({"idle_timeout_seconds": 1, "on_idle": "sleep"}, "on_idle is 'sleep'; accepted: stop, pause"),
    ],
)
def test_what_no_daemon_would_take_is_refused_by_name(given: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Sandbox(**given)
