"""The daemon under test: a real one, over TCP, with a home and a key of its own."""

import os
import secrets
import signal
import socket
import subprocess
import time
from pathlib import Path

START_SECONDS = 60
SHUTDOWN_SECONDS = 120

# What the client asks for by default, and what this machine has.
CONFIGURATION = """\
[images.alias]
"python:3.11" = "host"
"""


class Daemon:
    """`ebb serve` in a home of its own. It can be killed and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self.binary = os.environ["EBB_BIN"]
        self.directory = directory
        self.home = directory / "home"
        self.home.mkdir(mode=0o700)
        (self.home / "ebbtide.toml").write_text(CONFIGURATION)
        self.log = directory / "daemon.log"
        self.key = secrets.token_hex(16)
        self.port = _free_port()
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        """What a client is given as its base URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Returns once connections are accepted."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [self.binary, "serve", "--listen", f"127.0.0.1:{self.port}"],
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._accepts():
            assert self._process.poll() is None, f"the daemon has ended:\n{self.log.read_text()}"
            assert time.monotonic() < deadline, f"the daemon does not listen:\n{self.log.read_text()}"
            time.sleep(0.02)

    def kill(self) -> None:
        """As `kill -9` would: it has no chance to say good-bye."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(timeout=60)

    def shut_down(self) -> None:
        """Ends everything of the home."""
        subprocess.run(
            [self.binary, "shutdown"], env=self._environment(), check=True, timeout=SHUTDOWN_SECONDS
        )
        if self._process is not None:
            self._process.wait(timeout=60)

    def marks(self) -> list[str]:
        """What tells the objects of this home from those of others."""
        return [(self.home / "id").read_text().strip(), str(self.directory)]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "EBBTIDE_HOME": str(self.home),
            "EBBTIDE_API_KEY": self.key,
            "RUST_BACKTRACE": "1",
        }

    def _accepts(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0


def _free_port() -> int:
    # Fixed from here on: clients find a daemon that is started again where the one before was.
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
