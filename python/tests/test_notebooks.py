"""A kernel of Jupyter, driven as a notebook drives it."""

from collections.abc import Iterator
from typing import Any

import pytest
from helpers.home import Home

jupyter_client = pytest.importorskip("jupyter_client")
pytest.importorskip("ipykernel")

SECONDS = 60
FIRST = """
from ebbtide import Sandbox
box = Sandbox.run().wait()
print("made", flush=True)
box.exec(["sleep", "100"]).wait()
"""


class Notebook:
    """A kernel and what is typed into it."""

    def __init__(self, home: Home) -> None:
        # A kernel has so long to end by itself.
        self.manager = jupyter_client.KernelManager(kernel_name="python3", shutdown_wait_time=SECONDS)
        self.manager.start_kernel(env=home.environment())
        self._connect()

    def _connect(self) -> None:
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECONDS)

    def run(self, cell: str) -> tuple[str, Any]:
        """Runs a cell; returns what it wrote and the name of its exception, if it raised one."""
        self.client.execute(cell)
        return self.finish()

    def begin(self, cell: str) -> None:
        """Begins a cell and returns once it has said so."""
        self.client.execute(cell)
        while self._message()[0] != "stream":
            pass

    def finish(self) -> tuple[str, Any]:
        """Waits for the end of what runs."""
        said, error = "", None
        while True:
            kind, content = self._message()
            if kind == "stream":
                said += content["text"]
            elif kind == "error":
                error = content["ename"]
            elif kind == "status" and content["execution_state"] == "idle":
                return said, error

    def _message(self) -> tuple[str, dict[str, Any]]:
        message = self.client.get_iopub_msg(timeout=SECONDS)
        return message["msg_type"], message["content"]

    def restart(self) -> None:
        """As the button does."""
        self.client.stop_channels()
        self.manager.restart_kernel()
        self._connect()

    def close(self) -> None:
        """Ends the kernel."""
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel()


@pytest.fixture
def notebook(home: Home) -> Iterator[Notebook]:
    notebook = Notebook(home)
    yield notebook
    notebook.close()


def test_interrupting_a_cell_leaves_its_sandboxes_and_restarting_ends_them(home: Home, notebook: Notebook) -> None:
    # Also the cell that makes the first sandbox, and installs what is to be installed.
    notebook.begin(FIRST)
    notebook.manager.interrupt_kernel()
    assert notebook.finish()[1] == "KeyboardInterrupt"
    assert len(home.running()) == 1
    assert notebook.run("print(box.exec(['echo', 'hi']).result().stdout)") == ("hi\n\n", None)
    # What a cell awaits runs on the kernel's own loop.
    assert notebook.run("print((await box.exec(['echo', 'hi'])).stdout)") == ("hi\n\n", None)
    assert notebook.run("print(box.get_status())") == ("running\n", None)
    notebook.restart()
    assert home.running() == []
    assert notebook.run("from ebbtide import Sandbox\nbox = Sandbox.run()")[1] is None
    notebook.close()
    assert home.running() == []
