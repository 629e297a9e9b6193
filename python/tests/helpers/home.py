"""A home for the tests, and the program `ebb` as another reader of what is in it."""

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any, Optional

# One that a test can wait for.
GRACE_SECONDS = 3
# When it is over for sure, also on a busy machine.
LATE_SECONDS = GRACE_SECONDS + 60
CONFIGURATION = f"[limits]\nowner_grace_seconds = {GRACE_SECONDS}\n"
SHUTDOWN_SECONDS = 120

# What the guides ask for, and how it is made of what `cargo xtask image python` has built.
IMAGE = "python:3.11"
LOAD = (
    "--cmd=python3",
    "--env=LANG=C.UTF-8",
    "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
)


class Home:
    """A home of its own. The package starts its daemon by itself."""

    def __init__(self, directory: Path) -> None:
        self.binary = os.environ["EBB_BIN"]
        self.directory = directory
        self.path = directory / "home"
        self.path.mkdir(mode=0o700)
        (self.path / "ebbtide.toml").write_text(CONFIGURATION)
        root = os.environ.get("EBB_PYTHON_IMAGE")
        if root:
            self.ebb("image", "load", *LOAD, "--from-tar", root, IMAGE)
        else:
            # Good enough for all but what runs a program that this machine may lack.
            self.ebb("image", "alias", IMAGE, "host")

    def environment(self) -> dict[str, str]:
        """What a program finds this home by."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EBBTIDE_", "CWSANDBOX_"))}
        return {**kept, "EBBTIDE_HOME": str(self.path), "EBBTIDE_BIN": self.binary, "PYTHONDONTWRITEBYTECODE": "1"}

    def ebb(self, *arguments: str) -> str:
        """Runs `ebb`; it must succeed."""
        command = [self.binary, *arguments]
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{command} failed: {done.stderr}"
        return done.stdout

    def create(self, *tags: str, command: tuple[str, ...] = ()) -> str:
        """A sandbox that belongs to nobody; returns its id."""
        return self.ebb("create", *(f"--tag={tag}" for tag in tags), "--", *command).strip()

    def get(self, name: str) -> dict[str, Any]:
        """What `ebb` knows of a sandbox."""
        about: dict[str, Any] = json.loads(self.ebb("get", name, "--json"))
        return about

    def has_python(self) -> bool:
        """Whether the image of the guides has a program `python`."""
        command = [self.binary, "run", "--image", IMAGE, "--", "python", "-c", ""]
        return subprocess.run(command, env=self.environment(), capture_output=True, timeout=120).returncode == 0

    def running(self, tag: Optional[str] = None) -> list[str]:
        """The ids of the sandboxes that have not ended."""
        entries: list[dict[str, Any]] = json.loads(self.ebb("list", "--json"))["sandboxes"]
        return [entry["id"] for entry in entries if tag is None or tag in entry["tags"]]

    def wait_until_running(self, number: int, seconds: float, tag: Optional[str] = None) -> None:
        """Fails if there is another number of sandboxes after so long."""
        deadline = time.monotonic() + seconds
        while (running := len(self.running(tag))) != number:
            assert time.monotonic() < deadline, f"{running} sandboxes are left, expected {number}"
            time.sleep(0.1)

    def wait_until_some_run(self, number: int) -> None:
        """Fails if there are not so many sandboxes within a minute."""
        deadline = time.monotonic() + 60
        while len(self.running()) < number:
            assert time.monotonic() < deadline, f"not {number} sandboxes"
            time.sleep(0.05)

    def shut_down(self) -> None:
        """Ends everything of the home."""
        command = [self.binary, "shutdown"]
        subprocess.run(command, env=self.environment(), check=True, timeout=SHUTDOWN_SECONDS)

    def marks(self) -> list[str]:
        """What tells the objects of this home from those of others."""
        return [(self.path / "id").read_text().strip(), str(self.directory)]
