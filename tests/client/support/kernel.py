"""An independent reader of the kernel: what carries the mark of a home.

It shares no code with `ebb doctor` and asks no daemon. The mark is the id of the home, which is in the name
of all that is made for it, and its directory.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

SETTLE_SECONDS = 60


def wait_until_nothing_is_left(marks: list[str]) -> None:
    """Fails with what is left, if something still is after a while."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while found := list(leftovers(marks)):
        assert time.monotonic() < deadline, "left behind:\n  " + "\n  ".join(found)
        time.sleep(0.05)


def leftovers(marks: list[str]) -> Iterator[str]:
    """Names what is there."""

    def ours(text: str) -> bool:
        return any(mark in text for mark in marks)

    for pid, text in _processes():
        if pid != os.getpid() and ours(text):
            yield f"process {pid} {text[:200]}"
    mounts = _read("/proc/self/mountinfo").splitlines()
    for line in mounts:
        if ours(line):
            yield f"mount {line}"
    # Cgroup file systems of both versions, wherever they are mounted.
    for root in {line.split(" ")[4] for line in mounts if " - cgroup" in line}:
        for directory, _, _ in os.walk(root):
            if ours(directory):
                yield f"cgroup {directory}"
    for file in Path("/sys/block").glob("*/loop/backing_file"):
        if ours(_read(file)):
            yield f"loop device {file.parts[3]} on {_read(file).strip()}"
    for file in Path("/run/ebbtide").rglob("*"):
        # The content of a claim of user ids says whose it is.
        if ours(str(file)) or (file.parent.name == "ids" and ours(_read(file))):
            yield f"file {file}"
    for line in _read("/proc/net/unix").splitlines():
        if ours(line):
            yield f"socket {line.split()[-1]}"


def _processes() -> Iterator[tuple[int, str]]:
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            about = [_read(f"/proc/{entry}/{name}") for name in ("comm", "cmdline", "cgroup", "environ")]
            yield int(entry), " ".join(about).replace("\0", " ").replace("\n", " ")


def _read(path: str | Path) -> str:
    try:
        return Path(path).read_bytes().decode(errors="replace")
    except OSError:
        # Gone, or a directory: says nothing.
        return ""
