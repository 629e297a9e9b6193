"""Runs commands as a Python program does and takes their time.

Each line of standard input is a command as JSON, its first word the way to run it. Each gets a line back.
"""

import json
import subprocess
import sys
import time

from cwsandbox import Sandbox

ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}

with Sandbox.run(container_image="host") as sandbox:
    sandbox.wait(timeout=60)
    WAYS = {
        "client": lambda command: sandbox.exec(command, check=True).result(timeout=60),
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
