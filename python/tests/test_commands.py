"""Commands, terminals and files."""

import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator

import pytest
from helpers.home import Home

from ebbtide import (
    Sandbox,
    SandboxCommandTimeoutError,
    SandboxExecutionError,
    SandboxFileError,
    SandboxStreamTruncatedError,
)


@pytest.fixture(scope="module")
def box(home: Home) -> Iterator[Sandbox]:
    with Sandbox.run(tags=["shared"]) as box:
        yield box.wait()


# The shared one is there between tests.
@pytest.fixture(autouse=True)
def nothing_is_left() -> None:
    """Looked at by the tests of other modules."""


def test_a_result_has_both_outputs_and_the_code(box: Sandbox) -> None:
    process = box.exec(["sh", "-c", r"printf 'a\377b'; echo c >&2; exit 3"])
    assert process.wait() == 3
    result = process.result()
    assert (result.stdout, result.stdout_bytes) == ("a\ufffdb", b"a\xffb")
    assert (result.stderr, result.returncode, result.command) == ("c\n", 3, process.command)
    assert (process.poll(), process.returncode) == (3, 3)
    assert not process.cancel()


def test_a_command_runs_on_when_nobody_looks(box: Sandbox) -> None:
    box.exec(["sh", "-c", "sleep 0.3; seq 100000; touch /tmp/done"])
    process = box.exec(["sh", "-c", "while ! test -e /tmp/done; do sleep 0.05; done"])
    while process.poll() is None:
        time.sleep(0.02)
    assert process.returncode == 0


def test_a_checked_command_that_fails_is_an_error_with_its_result(box: Sandbox) -> None:
    process = box.exec(["sh", "-c", "echo out; echo why >&2; exit 4"], check=True)
    assert list(process.stdout) == ["out\n"]
    with pytest.raises(SandboxExecutionError, match="returned 4: why") as raised:
        process.result()
    result = raised.value.exec_result
    assert result is not None
    assert (result.stdout, result.stderr, result.returncode) == ("out\n", "why\n", 4)
    assert process.returncode == 4


def test_a_command_that_cannot_be_run_says_why(box: Sandbox) -> None:
    with pytest.raises(SandboxExecutionError) as raised:
        box.exec(["no-such-program"]).result()
    assert raised.value.reason == "COMMAND_NOT_FOUND"
    assert box.exec(["pwd"], cwd="/usr/lib").result().stdout == "/usr/lib\n"
    with pytest.raises(SandboxExecutionError):
        box.exec(["true"], cwd="/no/such/directory", check=True).result()


def test_a_command_has_as_long_as_it_was_given(box: Sandbox) -> None:
    begun = time.monotonic()
    process = box.exec(["sh", "-c", "echo begun; sleep 100"], timeout_seconds=1)
    with pytest.raises(SandboxCommandTimeoutError, match="took longer than 1 s and was ended"):
        process.result()
    assert time.monotonic() - begun < 90
    # A wait that is over ends nothing.
    process = box.exec(["sh", "-c", "while ! test -e /tmp/go; do sleep 0.02; done; echo done"])
    with pytest.raises(TimeoutError):
        process.result(timeout=0.05)
    box.write_file("/tmp/go", b"").result()
    assert process.result().stdout == "done\n"


def test_a_command_that_is_cancelled_ends(box: Sandbox) -> None:
    process = box.exec(["sh", "-c", "echo $$; exec sleep 1000"])
    pid = next(process.stdout).strip()
    assert process.cancel()
    with pytest.raises(SandboxExecutionError, match="given up"):
        process.result()
    box.exec(["sh", "-c", f"while test -e /proc/{pid}; do sleep 0.05; done"], timeout_seconds=30).result()


def test_input_is_written_in_order_and_closed(box: Sandbox) -> None:
    process = box.exec(["sha256sum"], stdin=True)
    assert process.stdin is not None
    sent = hashlib.sha256()
    for number in range(200):
        piece = os.urandom(5000)
        sent.update(piece)
        process.stdin.write(piece)
        if number % 50 == 0:
            process.stdin.writeline("line")
            sent.update(b"line\n")
    process.stdin.close().result()
    process.stdin.close()
    assert process.result().stdout.split()[0] == sent.hexdigest()
    for late in (process.stdin.write, process.stdin.write):
        with pytest.raises(SandboxExecutionError):
            late(b"x")
    assert box.exec(["cat"]).stdin is None


def test_a_writer_waits_for_a_command_that_does_not_read_and_its_caller_does_not(box: Sandbox) -> None:
    script = "while ! test -e /tmp/read; do sleep 0.02; done; cat >/dev/null; echo read"
    process = box.exec(["sh", "-c", script], stdin=True)
    assert process.stdin is not None
    writes = [process.stdin.write(bytes(1 << 20)) for _ in range(8)]
    assert not writes[-1].done()
    box.write_file("/tmp/read", b"").result()
    process.stdin.close()
    assert process.result(timeout=60).stdout == "read\n"


def test_more_output_than_fits_passes_a_reader_whole_and_is_told_to_whoever_reads_none(box: Sandbox) -> None:
    script = "head -c 100000000 /dev/zero | tr '\\0' x; echo end >&2"
    process = box.exec(["sh", "-c", script])
    assert sum(len(piece) for piece in process.stdout) == 100_000_000
    assert process.wait() == 0
    with pytest.raises(SandboxStreamTruncatedError, match="Read its streams as they come"):
        process.result()
    unread = box.exec(["sh", "-c", script])
    assert unread.wait(timeout=120) == 0
    assert "".join(unread.stderr) == "end\n"
    with pytest.raises(SandboxStreamTruncatedError):
        for _ in unread.stdout:
            pass


def test_a_reader_that_stops_reading_holds_up_the_command_and_not_who_waits_for_it(box: Sandbox) -> None:
    process = box.exec(["sh", "-c", "head -c 200000000 /dev/zero; echo done >&2"])
    next(process.stdout)
    # It is full by then, and stands still.
    time.sleep(3)
    assert process.poll() is None
    assert process.wait(timeout=120) == 0


def test_a_reader_that_goes_on_loses_nothing_while_another_waits_for_the_end(box: Sandbox) -> None:
    process = box.exec(["sh", "-c", "head -c 100000000 /dev/zero"])
    read = []
    thread = threading.Thread(target=lambda: read.extend(len(piece) for piece in slowly(process.stdout)))
    thread.start()
    assert process.wait(timeout=120) == 0
    thread.join()
    assert sum(read) == 100_000_000


def slowly(pieces: Iterable[str]) -> Iterator[str]:
    for number, piece in enumerate(pieces):
        if number % 100 == 0:
            time.sleep(0.01)
        yield piece


def test_a_reader_in_another_thread_is_woken_by_its_end(box: Sandbox) -> None:
    process = box.exec(["sleep", "1000"])
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.extend(process.stdout))
    thread.start()
    time.sleep(0.2)
    process.stdout.close()
    thread.join(60)
    assert not thread.is_alive()
    process.cancel()


def test_a_terminal_shows_types_and_changes_its_size(box: Sandbox) -> None:
    session = box.shell(["sh", "-c", "read line; echo got $line; stty size; exit 3"], width=120, height=40)
    session.resize(100, 30)
    session.stdin.write(b"hi\r")
    shown = b"".join(session.output)
    assert b"got hi" in shown
    assert b"30 100" in shown
    assert session.wait() == 3
    assert session.result().returncode == 3
    with pytest.raises(SandboxExecutionError, match="terminal"):
        session.resize(80, 24)
    assert box.shell(["true"]).result(timeout=30).returncode == 0


def test_files_are_written_and_read_whole_and_in_pieces(box: Sandbox) -> None:
    content = os.urandom(3_000_000)
    box.write_file("/tmp/a/b/whole", content).result()
    assert box.read_file("/tmp/a/b/whole").result() == content
    assert b"".join(box.read_file_streaming("/tmp/a/b/whole")) == content
    pieces = [content[at : at + 100_000] for at in range(0, len(content), 100_000)]
    box.write_file_streaming("/tmp/pieces", iter(pieces)).result()
    assert box.read_file("/tmp/pieces").result() == content
    box.write_file_streaming("/tmp/pieces", b"at once").result()
    assert box.read_file("/tmp/pieces").result() == b"at once"


def test_a_file_whose_source_fails_stays_as_it_was(box: Sandbox) -> None:
    box.write_file("/tmp/kept", b"old").result()

    def failing() -> Iterator[bytes]:
        yield b"new"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        box.write_file_streaming("/tmp/kept", failing()).result()
    with pytest.raises(TypeError, match="a piece of source is bytes, not str"):
        box.write_file_streaming("/tmp/kept", ["text"]).result()  # type: ignore[list-item]
    assert box.read_file("/tmp/kept").result() == b"old"


def test_a_file_that_is_not_there_is_an_error_with_its_path(box: Sandbox) -> None:
    for read in (lambda: box.read_file("/no/such").result(), lambda: list(box.read_file_streaming("/no/such"))):
        with pytest.raises(SandboxFileError) as raised:
            read()
        assert raised.value.filepath == "/no/such"
        assert (raised.value.reason, raised.value.code) == ("CWSANDBOX_FILE_NOT_FOUND", "NotFound")
        assert raised.value.metadata["filepath"] == "/no/such"
        assert raised.value.request_id
    with pytest.raises(SandboxFileError):
        box.write_file("/proc/nothing", b"").result()
