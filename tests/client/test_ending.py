"""Ending sandboxes: stop with its grace, delete, purge, and what is known of them afterwards."""

import cwsandbox
import pytest
from cwsandbox import Sandbox, SandboxNotFoundError, SandboxTerminatedError, Session
from cwsandbox._proto import sandbox_pb2

from support.rpc import TERMINAL, Rpc

LIMIT = 60
# Says when it is ready to be stopped.
POLITE = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
DEAF = "trap '' TERM; echo ready; while :; do sleep 0.05; done"


def run(script: str) -> Sandbox:
    sandbox = Sandbox.run("/bin/sh", "-c", script)
    assert next(iter(sandbox.stream_logs(follow=True))) == "ready\n"
    return sandbox


def test_a_stop_lets_the_main_command_end_by_itself(daemon):
    sandbox = run(POLITE)
    sandbox.stop(graceful_shutdown_seconds=LIMIT).result(timeout=LIMIT)
    assert (str(sandbox.status), sandbox.returncode) == ("completed", 42)


def test_a_main_command_that_does_not_end_is_killed_after_its_grace(daemon):
    sandbox = run(DEAF)
    sandbox.stop(graceful_shutdown_seconds=1).result(timeout=LIMIT)
    assert (str(sandbox.status), sandbox.returncode) == ("completed", 137)


def test_the_default_main_command_ends_at_once_and_well(daemon):
    sandbox = Sandbox.run()
    sandbox.wait(timeout=LIMIT)
    sandbox.stop(graceful_shutdown_seconds=LIMIT).result(timeout=LIMIT)
    assert sandbox.returncode == 0


def test_stopping_twice_is_no_error(daemon):
    sandbox = Sandbox.run()
    sandbox.wait(timeout=LIMIT)
    other = Sandbox.from_id(sandbox.sandbox_id).result(timeout=LIMIT)
    cwsandbox.results([sandbox.stop(graceful_shutdown_seconds=0), sandbox.stop()])
    sandbox.stop().result(timeout=LIMIT)
    other.stop().result(timeout=LIMIT)
    assert str(other.status) == "completed"


def test_what_never_was_is_missing_when_it_is_stopped_unless_that_is_fine(daemon, rpc: Rpc):
    sandbox = Sandbox.run()
    sandbox.wait(timeout=LIMIT)
    Sandbox.delete(sandbox.sandbox_id).result(timeout=LIMIT)
    sandbox.stop(missing_ok=True).result(timeout=LIMIT)
    request = sandbox_pb2.DeleteSandboxRequest(sandbox_id="no-such-sandbox", allow_missing=True)
    assert not rpc.DeleteSandbox(request).HasField("sandbox")


def test_a_delete_ends_the_sandbox_at_once(daemon):
    sandbox = run(DEAF)
    Sandbox.delete(sandbox.sandbox_id).result(timeout=LIMIT)
    sandbox.wait_until_complete(timeout=LIMIT).result()
    assert sandbox.returncode == 137


def test_a_delete_of_what_is_missing_is_an_error_unless_that_is_fine(daemon):
    with pytest.raises(SandboxNotFoundError) as caught:
        Sandbox.delete("no-such-sandbox").result(timeout=LIMIT)
    assert caught.value.reason == "CWSANDBOX_SANDBOX_NOT_FOUND"
    Sandbox.delete("no-such-sandbox", missing_ok=True).result(timeout=LIMIT)


def test_who_waits_for_a_sandbox_that_it_stops_itself_is_told(daemon):
    sandbox = Sandbox.run()
    sandbox.stop().result(timeout=LIMIT)
    with pytest.raises(SandboxTerminatedError):
        sandbox.wait_until_complete(timeout=LIMIT).result()
    sandbox.wait_until_complete(timeout=LIMIT, raise_on_termination=False).result()


def test_an_error_in_its_body_ends_the_sandbox_and_comes_through(daemon):
    with pytest.raises(KeyError, match="mine"), Sandbox.run() as sandbox:
        sandbox.wait(timeout=LIMIT)
        raise KeyError("mine")
    assert str(Sandbox.from_id(sandbox.sandbox_id).result(timeout=LIMIT).status) == "completed"


def test_a_session_ends_all_of_its_sandboxes(daemon):
    with Session() as session:
        sandboxes = [session.sandbox(tags=["of a session"]) for _ in range(5)]
        for sandbox in sandboxes:
            sandbox.exec(["true"]).result(timeout=LIMIT)
        assert session.sandbox_count == 5
    assert {str(sandbox.status) for sandbox in sandboxes} == {"completed"}
    session.close().result(timeout=LIMIT)
    with pytest.raises(cwsandbox.SandboxError):
        session.sandbox()


def test_a_purge_ends_all_with_the_tags_and_a_dry_run_ends_none(daemon, rpc: Rpc):
    doomed = [Sandbox.run(tags=["doomed", "x"]), Sandbox.run(tags=["doomed"])]
    spared = Sandbox.run(tags=["x"]).wait(timeout=LIMIT)
    dry = rpc.PurgeSandboxes(sandbox_pb2.PurgeSandboxesRequest(tags=["doomed"], dry_run=True))
    assert dry.purge_count == 2
    assert len(Sandbox.list(tags=["doomed"]).result(timeout=LIMIT)) == 2
    purged = rpc.PurgeSandboxes(sandbox_pb2.PurgeSandboxesRequest(tags=["doomed"]))
    assert (purged.purge_count, list(purged.failed_sandbox_ids)) == (2, [])
    for sandbox in doomed:
        sandbox.wait_until_complete(timeout=LIMIT).result()
        assert rpc.get(sandbox.sandbox_id).status.state in TERMINAL
    assert str(spared.get_status()) == "running"
    spared.stop().result(timeout=LIMIT)
