"""Commands: their streams, their end, and what ends them."""

import contextlib
import hashlib
import os
import time

import cwsandbox
import pytest
from cwsandbox import Sandbox, SandboxExecutionError, SandboxNotRunningError, SandboxTimeoutError

from support.features import needs

LIMIT = 60


def run(box: Sandbox, script: str, **options):
    return box.exec(["sh", "-c", script], **options).result(timeout=LIMIT)


def is_running(box: Sandbox, pid: str) -> bool:
    return run(box, f"kill -0 {pid} 2>&1").returncode == 0


def wait_until_gone(box: Sandbox, pid: str) -> None:
    deadline = time.monotonic() + LIMIT
    while is_running(box, pid):
        assert time.monotonic() < deadline, f"process {pid} runs on"
        time.sleep(0.05)


def test_output_error_and_exit_code_come_apart(box):
    result = run(box, "echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 3)
    assert list(result.command) == ["sh", "-c", "echo out; echo err >&2; exit 3"]


def test_output_arrives_while_the_command_runs(box):
    process = box.exec(["sh", "-c", "echo one; read line; echo two $line"], stdin=True)
    output = iter(process.stdout)
    assert next(output) == "one\n"
    assert process.poll() is None
    process.stdin.writeline("three").result(timeout=LIMIT)
    assert next(output) == "two three\n"
    assert process.wait(timeout=LIMIT) == 0


def test_input_comes_back_byte_for_byte(box):
    data = os.urandom(1 << 20)
    process = box.exec(["cat"], stdin=True)
    for at in range(0, len(data), 100_000):
        process.stdin.write(data[at : at + 100_000]).result(timeout=LIMIT)
    process.stdin.close().result(timeout=LIMIT)
    assert process.result(timeout=LIMIT).stdout_bytes == data


def test_the_end_of_input_is_seen_by_who_waits_for_it(box):
    process = box.exec(["sort"], stdin=True)
    process.stdin.write(b"b\na\n").result(timeout=LIMIT)
    process.stdin.close().result(timeout=LIMIT)
    assert process.result(timeout=LIMIT).stdout == "a\nb\n"


def test_a_command_may_end_without_reading_its_input(box):
    process = box.exec(["sh", "-c", "exit 4"], stdin=True)
    assert process.wait(timeout=LIMIT) == 4


def test_a_command_that_is_given_no_input_sees_an_empty_one(box):
    assert run(box, "cat; echo end").stdout == "end\n"


def test_a_large_output_arrives_whole(box):
    script = (
        "head -c 40000000 /dev/urandom >/tmp/large; cat /tmp/large; sha256sum </tmp/large >&2; rm /tmp/large"
    )
    result = run(box, script)
    assert len(result.stdout_bytes) == 40_000_000
    assert hashlib.sha256(result.stdout_bytes).hexdigest() == result.stderr.split()[0]


def test_text_of_many_bytes_per_character_is_text(box):
    assert run(box, "printf 'gr\u00fc\u00df dich \u4f60\u597d'").stdout == "gr\u00fc\u00df dich \u4f60\u597d"


def test_a_command_past_its_time_is_ended(box):
    process = box.exec(["sh", "-c", "echo $$; exec sleep 1000"], timeout_seconds=1)
    pid = next(iter(process.stdout)).strip()
    with pytest.raises(SandboxTimeoutError):
        process.result(timeout=LIMIT)
    wait_until_gone(box, pid)


def test_a_cancelled_command_is_ended(box):
    process = box.exec(["sh", "-c", "echo $$; exec sleep 1000"])
    pid = next(iter(process.stdout)).strip()
    assert is_running(box, pid)
    process.cancel()
    wait_until_gone(box, pid)


def test_check_makes_a_failure_an_error_that_carries_the_result(box):
    assert run(box, "true", check=True).returncode == 0
    with pytest.raises(SandboxExecutionError) as caught:
        run(box, "echo why >&2; exit 5", check=True)
    assert (caught.value.exec_result.returncode, caught.value.exec_result.stderr) == (5, "why\n")


def test_a_command_that_is_not_there_is_an_error_that_names_it(box):
    with pytest.raises(SandboxExecutionError, match="no-such-program") as caught:
        box.exec(["no-such-program"]).result(timeout=LIMIT)
    assert caught.value.reason == "COMMAND_NOT_FOUND"


def test_a_directory_to_run_in_is_entered_or_complained_about(box):
    assert box.exec(["pwd"], cwd="/usr").result(timeout=LIMIT).stdout == "/usr\n"
    missing = box.exec(["pwd"], cwd="/no/such/directory").result(timeout=LIMIT)
    assert missing.returncode != 0
    assert "/no/such/directory" in missing.stderr


def test_commands_run_at_once(box):
    processes = [box.exec(["sh", "-c", f"sleep 0.2; echo {number}"]) for number in range(16)]
    outputs = [result.stdout for result in cwsandbox.results(processes)]
    assert outputs == [f"{number}\n" for number in range(16)]


def test_a_signal_that_ends_a_command_is_its_exit_code(box):
    assert run(box, "kill -KILL $$").returncode == 137


def test_nothing_runs_in_a_sandbox_that_has_ended(daemon):
    sandbox = Sandbox.run()
    sandbox.stop(graceful_shutdown_seconds=0).result(timeout=LIMIT)
    with pytest.raises(SandboxNotRunningError):
        run(sandbox, "true")
    # A handle that does not know yet is told by the server.
    other = Sandbox.from_id(sandbox.sandbox_id).result(timeout=LIMIT)
    with pytest.raises(SandboxNotRunningError):
        run(other, "true")


def test_the_end_of_a_sandbox_is_the_end_of_its_commands(daemon):
    sandbox = Sandbox.run()
    process = sandbox.exec(["sh", "-c", "echo begun; exec sleep 1000"])
    assert next(iter(process.stdout)) == "begun\n"
    Sandbox.delete(sandbox.sandbox_id).result(timeout=LIMIT)
    # Either end may be seen first: the command's or the sandbox's.
    with contextlib.suppress(cwsandbox.SandboxError):
        assert process.result(timeout=LIMIT).returncode == 137
    sandbox.wait_until_complete(timeout=LIMIT).result()


@needs("container by name")
def test_the_container_may_be_named(box):
    assert box.exec(["echo", "x"], container="main").result(timeout=LIMIT).stdout == "x\n"
    with pytest.raises(cwsandbox.SandboxError, match="other"):
        box.exec(["true"], container="other").result(timeout=LIMIT)
