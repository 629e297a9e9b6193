"""The reason of each refusal, beside the class that the client makes of it."""

from collections.abc import Callable

import cwsandbox
import pytest
from cwsandbox import Sandbox
from cwsandbox._proto import sandbox_pb2

from support.features import needs
from support.rpc import Rpc, refused

LIMIT = 60

pytestmark = needs("the reasons")


def made(**fields) -> Callable[[Rpc, Sandbox], object]:
    """A create with something else in what it asks for."""
    return lambda rpc, _: rpc.create("true", **fields)


def read_of(path: str) -> Callable[[Rpc, Sandbox], object]:
    """A read of one file."""
    return lambda rpc, box: read(rpc, box, path)


NOBODY = "01jd0000000000000000000000"
# Reason, status, and a call that is answered with both.
REFUSALS = [
    ("CWSANDBOX_SANDBOX_NOT_FOUND", "NOT_FOUND", lambda rpc, _: rpc.get(NOBODY)),
    ("CWSANDBOX_SANDBOX_NOT_FOUND", "NOT_FOUND", lambda rpc, _: rpc.delete(NOBODY)),
    ("CWSANDBOX_INVALID_REQUEST", "INVALID_ARGUMENT", made(max_lifetime_seconds=-1)),
    ("CWSANDBOX_NOT_IMPLEMENTED", "UNIMPLEMENTED", made(network_ids=["elsewhere"])),
    ("CWSANDBOX_FILE_NOT_FOUND", "NOT_FOUND", read_of("/tmp/is/not/there")),
    ("CWSANDBOX_FILE_IS_DIRECTORY", "FAILED_PRECONDITION", read_of("/tmp")),
    ("CWSANDBOX_FILE_IO_FAILED", "FAILED_PRECONDITION", read_of("/dev/zero")),
    ("CWSANDBOX_FILE_PERMISSION_DENIED", "PERMISSION_DENIED", read_of("/proc/1/environ")),
]


def read(rpc: Rpc, box: Sandbox, path: str):
    return rpc.ReadFile(sandbox_pb2.ReadFileRequest(sandbox_id=box.sandbox_id, path=path))


@pytest.mark.parametrize(("reason", "status", "call"), REFUSALS)
def test_a_refusal_has_its_status_its_reason_and_words(rpc: Rpc, box, reason, status, call):
    with refused() as refusal:
        call(rpc, box)
    assert (refusal.info.domain, refusal.info.reason) == ("cwsandbox.com", reason)
    assert refusal.code.name == status
    assert refusal.message


def test_what_a_sandbox_that_has_ended_cannot_do_is_not_running(daemon, rpc: Rpc):
    sandbox = Sandbox.run("true")
    sandbox.wait_until_complete(timeout=LIMIT).result()
    with refused() as refusal:
        read(rpc, sandbox, "/etc/hostname")
    assert refusal.info.reason == "CWSANDBOX_SANDBOX_NOT_RUNNING"
    assert refusal.code.name == "FAILED_PRECONDITION"


def test_the_errors_of_files_say_which_file_and_what_was_to_be_done(rpc: Rpc, box):
    for path in ("/tmp/is/not/there", "/tmp", "/dev/zero"):
        with refused() as refusal:
            read(rpc, box, path)
        assert refusal.info.metadata["filepath"] == path
        assert refusal.info.metadata["operation"]


def test_what_is_not_there_yet_is_an_error_that_names_it(daemon):
    with pytest.raises(cwsandbox.SandboxError) as caught:
        Sandbox.run(runtime_class="gvisor")
    assert caught.value.reason == "CWSANDBOX_NOT_IMPLEMENTED"
    assert "runtime_class" in str(caught.value)
