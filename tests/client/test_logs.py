"""The output of the main command."""

import datetime
import itertools

import pytest
from cwsandbox import Sandbox

LIMIT = 60
# Writes three lines at once, and three more when there is a file.
SPEAKER = "seq 1 3; while [ ! -e /tmp/go ]; do sleep 0.05; done; seq 4 6; sleep 1000"


@pytest.fixture(scope="module")
def speaker(daemon):
    """A sandbox whose main command has written three lines and will write three more."""
    with Sandbox.run("/bin/sh", "-c", SPEAKER, tags=["shared"]) as sandbox:
        sandbox.wait(timeout=LIMIT)
        list(itertools.islice(sandbox.stream_logs(follow=True), 3))
        yield sandbox


def test_what_was_written_is_read_line_by_line(speaker):
    assert list(speaker.stream_logs())[:3] == ["1\n", "2\n", "3\n"]


def test_only_the_last_lines_are_read_if_so_asked(speaker):
    assert list(speaker.stream_logs(tail_lines=2)) == ["2\n", "3\n"]


def test_each_line_has_its_time_if_so_asked(speaker):
    lines = list(speaker.stream_logs(timestamps=True))
    for line in lines:
        time, _ = line.split(" ", 1)
        assert datetime.datetime.fromisoformat(time).tzinfo is not None
    assert [line.split(" ", 1)[1] for line in lines] == ["1\n", "2\n", "3\n"]


def test_only_what_is_newer_than_a_time_is_read(speaker):
    now = datetime.datetime.now(datetime.UTC)
    assert list(speaker.stream_logs(since_time=now)) == []
    long_ago = now - datetime.timedelta(hours=1)
    assert list(speaker.stream_logs(since_time=long_ago)) == ["1\n", "2\n", "3\n"]


def test_what_commands_write_is_not_in_the_log(speaker):
    speaker.exec(["echo", "of a command"]).result(timeout=LIMIT)
    assert "of a command\n" not in list(speaker.stream_logs())


def test_following_goes_on_to_the_end_of_the_main_command(daemon):
    script = "echo first; sleep 0.3; printf 'no newline at the end'"
    sandbox = Sandbox.run("/bin/sh", "-c", script)
    assert list(sandbox.stream_logs(follow=True)) == ["first\n", "no newline at the end"]
    sandbox.wait_until_complete(timeout=LIMIT).result()


def test_a_follower_loses_and_doubles_nothing_when_the_daemon_is_killed(daemon):
    script = "for n in $(seq 1 200); do echo line $n; sleep 0.02; done; echo done"
    sandbox = Sandbox.run("/bin/sh", "-c", script)
    sandbox.wait(timeout=LIMIT)
    reader = iter(sandbox.stream_logs(follow=True))
    lines = list(itertools.islice(reader, 20))
    daemon.kill()
    daemon.start()
    lines += list(reader)
    assert lines == [*(f"line {n}\n" for n in range(1, 201)), "done\n"]
    sandbox.wait_until_complete(timeout=LIMIT).result()


def test_the_log_of_a_sandbox_that_has_ended_can_be_read(daemon):
    sandbox = Sandbox.run("/bin/sh", "-c", "echo last words")
    sandbox.wait_until_complete(timeout=LIMIT).result()
    assert list(sandbox.stream_logs()) == ["last words\n"]


def test_a_large_log_arrives_whole(daemon):
    sandbox = Sandbox.run("/bin/sh", "-c", "seq 1 20000")
    lines = list(sandbox.stream_logs(follow=True))
    assert lines == [f"{n}\n" for n in range(1, 20_001)]
    sandbox.wait_until_complete(timeout=LIMIT).result()


def test_a_follower_sees_what_is_written_while_it_follows(speaker):
    reader = iter(speaker.stream_logs(follow=True))
    assert list(itertools.islice(reader, 3)) == ["1\n", "2\n", "3\n"]
    speaker.exec(["touch", "/tmp/go"]).result(timeout=LIMIT)
    assert list(itertools.islice(reader, 3)) == ["4\n", "5\n", "6\n"]
