"""The protocol by hand, for what the public client has no call for or hides."""

from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from cwsandbox._proto import sandbox_pb2, sandbox_pb2_grpc
from google.rpc import error_details_pb2, status_pb2

LIMIT_SECONDS = 60
TERMINAL = (sandbox_pb2.STATE_COMPLETED, sandbox_pb2.STATE_FAILED, sandbox_pb2.STATE_TERMINATED)


class Rpc:
    """The generated stub, with the key in each call and a bound on it."""

    def __init__(self, target: str, key: str) -> None:
        self.channel = grpc.insecure_channel(target)
        self._stub = sandbox_pb2_grpc.SandboxServiceStub(self.channel)
        self.metadata = (("authorization", f"Bearer {key}"),)

    def __getattr__(self, method: str):
        call = getattr(self._stub, method)

        def bounded(request, timeout: float = LIMIT_SECONDS):
            # Waits while a daemon that was killed is started again.
            return call(request, timeout=timeout, metadata=self.metadata, wait_for_ready=True)

        return bounded

    def get(self, sandbox_id: str) -> sandbox_pb2.Sandbox:
        """The sandbox as the server shows it."""
        return self.GetSandbox(sandbox_pb2.GetSandboxRequest(sandbox_id=sandbox_id))

    def create(self, command: str, request_id: str = "", **spec) -> sandbox_pb2.Sandbox:
        """Makes a sandbox whose main command is a line of shell."""
        container = sandbox_pb2.Container(
            name="main", image="python:3.11", command="/bin/sh", args=["-c", command]
        )
        sandbox = sandbox_pb2.Sandbox(spec=sandbox_pb2.SandboxSpec(containers=[container], **spec))
        return self.CreateSandbox(sandbox_pb2.CreateSandboxRequest(sandbox=sandbox, request_id=request_id))

    def delete(self, sandbox_id: str, timeout: float = LIMIT_SECONDS, **fields):
        """Ends a sandbox."""
        request = sandbox_pb2.DeleteSandboxRequest(sandbox_id=sandbox_id, **fields)
        return self.DeleteSandbox(request, timeout=timeout)


@contextmanager
def refused() -> Iterator["Refusal"]:
    """The body must be refused; what the refusal said is known afterwards."""
    refusal = Refusal()
    try:
        yield refusal
    except grpc.RpcError as error:
        refusal.read(error)
    else:
        raise AssertionError("was not refused")


class Refusal:
    """A status with its details, as they were sent."""

    code: grpc.StatusCode
    message: str
    info: error_details_pb2.ErrorInfo

    def read(self, error: grpc.RpcError) -> None:
        """Takes an error apart."""
        self.code, self.message = error.code(), error.details()
        self.info = error_details_pb2.ErrorInfo()
        for key, value in error.trailing_metadata() or ():
            if key == "grpc-status-details-bin":
                for detail in status_pb2.Status.FromString(value).details:
                    detail.Unpack(self.info)
