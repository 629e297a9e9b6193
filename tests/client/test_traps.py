"""What a server can do that looks right and breaks the client: each of the known traps, not fallen into."""

import threading

import cwsandbox
import grpc
import pytest
from cwsandbox import Sandbox, SandboxDefaults
from cwsandbox._proto import sandbox_pb2

from support.features import needs
from support.rpc import TERMINAL, Rpc, refused

LIMIT = 60
DEAF = "trap '' TERM; while :; do sleep 0.05; done"

pytestmark = needs("the traps")


class Exec:
    """StreamExec by hand."""

    def __init__(self, rpc: Rpc, sandbox_id: str, *command: str) -> None:
        self._go_on = threading.Event()
        init = sandbox_pb2.ExecStreamInit(sandbox_id=sandbox_id, command=command)
        self._first = sandbox_pb2.ExecStreamRequest(init=init)
        self.answers = rpc.StreamExec(self._requests())

    def half_close(self) -> None:
        """Says that nothing more is sent."""
        self._go_on.set()

    def _requests(self):
        yield self._first
        self._go_on.wait(LIMIT)


def test_the_state_is_never_left_out(rpc: Rpc):
    states = [rpc.create("exit 3", tags=["trap"]).status.state]
    (sandbox,) = rpc.ListSandboxes(sandbox_pb2.ListSandboxesRequest(tags=["trap"])).sandboxes
    while states[-1] not in TERMINAL:
        states.append(rpc.get(sandbox.sandbox_id).status.state)
    listing = sandbox_pb2.ListSandboxesRequest(tags=["trap"], show_terminated=True)
    states += [sandbox.status.state for sandbox in rpc.ListSandboxes(listing).sandboxes]
    assert sandbox_pb2.STATE_UNSPECIFIED not in states


def test_an_exit_code_of_zero_is_there(rpc: Rpc):
    sandbox = Sandbox.run("true")
    sandbox.wait_until_complete(timeout=LIMIT).result()
    status = rpc.get(sandbox.sandbox_id).status
    assert (status.state, status.HasField("exit_code"), status.exit_code) == (
        sandbox_pb2.STATE_COMPLETED,
        True,
        0,
    )


def test_a_sandbox_that_was_deleted_comes_to_an_end_and_can_still_be_looked_at(rpc: Rpc):
    sandbox_id = rpc.create("sleep 1000").sandbox_id
    rpc.delete(sandbox_id)
    while rpc.get(sandbox_id).status.state not in TERMINAL:
        pass
    assert rpc.get(sandbox_id).sandbox_id == sandbox_id
    # And once more: it is no error to end what has ended.
    assert rpc.delete(sandbox_id).sandbox.status.state in TERMINAL


def test_a_delete_is_answered_before_the_sandbox_has_ended_and_says_which_one(rpc: Rpc):
    sandbox = Sandbox.run("/bin/sh", "-c", DEAF)
    sandbox.wait(timeout=LIMIT)
    # The call has less time than the sandbox.
    answer = rpc.delete(sandbox.sandbox_id, timeout=10, grace_period_seconds=300)
    assert answer.sandbox.sandbox_id == sandbox.sandbox_id
    assert answer.sandbox.status.state == sandbox_pb2.STATE_TERMINATING
    rpc.delete(sandbox.sandbox_id)
    sandbox.wait_until_complete(timeout=LIMIT).result()


def test_what_is_not_there_is_unimplemented_and_nothing_else(rpc: Rpc, box):
    with refused() as refusal:
        rpc.ConnectSandbox(sandbox_pb2.ConnectSandboxRequest(sandbox_id=box.sandbox_id))
    assert refusal.code == grpc.StatusCode.UNIMPLEMENTED
    for path in ("/coreweave.sandbox.v1.SandboxService/Unheard", "/of.nobody/Unheard"):
        with refused() as refusal:
            rpc.channel.unary_unary(path)(b"", timeout=LIMIT, metadata=rpc.metadata)
        assert refusal.code == grpc.StatusCode.UNIMPLEMENTED


def test_ready_comes_before_anything_is_said_or_asked(rpc: Rpc, box):
    process = Exec(rpc, box.sandbox_id, "sh", "-c", "read line; exit 3")
    assert next(process.answers).WhichOneof("message") == "ready"
    process.half_close()
    assert next(process.answers).exit.exit_code == 3


def test_a_closed_side_is_no_cancellation_and_the_exit_comes_last(rpc: Rpc, box):
    process = Exec(rpc, box.sandbox_id, "sh", "-c", "cat; sleep 0.5; seq 1 100000; echo end >&2")
    process.half_close()
    answers = list(process.answers)
    kinds = [answer.WhichOneof("message") for answer in answers]
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("ready", {"output"}, "exit")
    outputs = [answer.output for answer in answers[1:-1]]
    text = b"".join(o.data for o in outputs if o.stream == sandbox_pb2.ExecStreamOutput.STREAM_STDOUT)
    assert text == "".join(f"{n}\n" for n in range(1, 100_001)).encode()


def test_the_reason_of_an_error_is_in_the_domain_that_is_trusted(rpc: Rpc, box):
    unknown = sandbox_pb2.GetSandboxRequest(sandbox_id="no-such-sandbox")
    missing = sandbox_pb2.ReadFileRequest(sandbox_id=box.sandbox_id, path="/no/such/file")
    for call, request, reason in (
        (rpc.GetSandbox, unknown, "CWSANDBOX_SANDBOX_NOT_FOUND"),
        (rpc.ReadFile, missing, "CWSANDBOX_FILE_NOT_FOUND"),
    ):
        with refused() as refusal:
            call(request)
        assert (refusal.info.domain, refusal.info.reason) == ("cwsandbox.com", reason)
    with pytest.raises(cwsandbox.SandboxFileError):
        box.read_file("/no/such/file").result(timeout=LIMIT)


def test_what_a_sandbox_was_asked_to_be_is_in_every_answer(rpc: Rpc):
    created = rpc.create("sleep 1000", tags=["a", "b"])
    (listed,) = rpc.ListSandboxes(sandbox_pb2.ListSandboxesRequest(tags=["a"])).sandboxes
    deleted = rpc.delete(created.sandbox_id).sandbox
    for sandbox in (created, rpc.get(created.sandbox_id), listed, deleted):
        assert list(sandbox.spec.tags) == ["a", "b"]
        assert [container.name for container in sandbox.spec.containers] == ["main"]


def test_a_create_that_is_repeated_is_one_sandbox_also_after_the_daemon_was_killed(daemon, rpc: Rpc):
    first = rpc.create("sleep 1000", request_id="again")
    daemon.kill()
    daemon.start()
    second = rpc.create("sleep 1000", request_id="again")
    assert second.sandbox_id == first.sandbox_id
    rpc.delete(first.sandbox_id)


def test_log_offsets_count_bytes_and_an_unknown_session_is_told_in_the_stream(rpc: Rpc):
    sandbox = Sandbox.run("/bin/sh", "-c", "seq 1 50000")
    sandbox.wait_until_complete(timeout=LIMIT).result()
    entries = list(rpc.StreamLogs(sandbox_pb2.StreamLogsRequest(sandbox_id=sandbox.sandbox_id)))
    offset, content = 0, b""
    for entry in entries:
        offset += len(entry.data)
        content += entry.data
        assert entry.next_log_offset == offset
        assert entry.log_session_id == entries[0].log_session_id != ""
    assert content == "".join(f"{n}\n" for n in range(1, 50_001)).encode()
    half = offset // 2
    resumed = sandbox_pb2.StreamLogsRequest(
        sandbox_id=sandbox.sandbox_id,
        resume_log_session_id=entries[0].log_session_id,
        resume_log_offset=half,
    )
    assert b"".join(entry.data for entry in rpc.StreamLogs(resumed)) == content[half:]
    resumed.resume_log_session_id = "nobody knows this one"
    assert [entry.error.code for entry in rpc.StreamLogs(resumed)] == ["SESSION_NOT_FOUND"]


def test_a_listing_in_pages_repeats_no_token_and_no_sandbox(rpc: Rpc):
    sandboxes = [rpc.create("sleep 1000", tags=["paged"]).sandbox_id for _ in range(5)]
    request = sandbox_pb2.ListSandboxesRequest(tags=["paged"], page_size=2)
    tokens, found = [""], []
    while True:
        page = rpc.ListSandboxes(request)
        found += [sandbox.sandbox_id for sandbox in page.sandboxes]
        if not page.next_page_token:
            break
        assert page.next_page_token not in tokens
        tokens.append(page.next_page_token)
        request.page_token = page.next_page_token
    assert sorted(found) == sorted(sandboxes)
    assert len(tokens) == 3
    rpc.PurgeSandboxes(sandbox_pb2.PurgeSandboxesRequest(tags=["paged"]))


def test_the_environment_says_where_the_server_is_whatever_the_defaults_say(daemon):
    with Sandbox.run(defaults=SandboxDefaults(base_url="http://127.0.0.1:1")) as sandbox:
        assert sandbox.exec(["echo", "x"]).result(timeout=LIMIT).stdout == "x\n"


def test_a_proxy_in_the_environment_is_not_in_the_way_where_it_is_told_so(daemon, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert isinstance(Sandbox.list().result(timeout=LIMIT), list)


def test_a_mode_that_asks_for_the_gateway_or_for_either_works(daemon):
    for mode in ("gateway", "auto"):
        with Sandbox.run(data_plane_mode=mode) as sandbox:
            assert sandbox.exec(["echo", mode]).result(timeout=LIMIT).stdout == f"{mode}\n"
    with pytest.raises(cwsandbox.SandboxUnavailableError), Sandbox.run(data_plane_mode="direct") as sandbox:
        sandbox.exec(["true"]).result(timeout=LIMIT)
