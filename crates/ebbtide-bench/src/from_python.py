"""Runs commands as a Python program does and takes their time.

Each line of standard input is a command as JSON, its first word the way to run it. Each gets a line back.
"""

import asyncio
import json
import subprocess
import sys
import time

import cwsandbox
import ebbtide

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}


async def awaited(sandbox: ebbtide.Sandbox, command: list[str]) -> None:
    """Runs a command on the event loop that runs."""
    await sandbox.exec(command, check=True)


with (
    cwsandbox.Sandbox.run(container_image="host") as theirs,
    ebbtide.Sandbox.run() as ours,
    asyncio.Runner() as loop,
):
    theirs.wait(timeout=60)
    ours.wait(timeout=60)
    WAYS = {
        "client": lambda command: theirs.exec(command, check=True).result(timeout=60),
        "package": lambda command: ours.exec(command, check=True).result(timeout=60),
        "awaited": lambda command: loop.run(awaited(ours, command)),
        "subprocess": lambda command: subprocess.run(
            command, check=True, capture_output=True, env=ENVIRONMENT, timeout=60
        ),
    }
    for line in sys.stdin:
        way, *command = json.loads(line)
        started = time.perf_counter_ns()
        try:
            WAYS[way](command)
            status, said = 0, ""
        except Exception as error:
            status, said = 1, f"{error} {getattr(error, 'stderr', '')}"
        taken = time.perf_counter_ns() - started
        print(json.dumps({"nanoseconds": taken, "status": status, "stderr": said}), flush=True)
