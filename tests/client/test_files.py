"""Files: small ones by message, large ones by the client's own way, and every error by its class."""

import hashlib
import os

import pytest
from cwsandbox import SandboxFileError
from cwsandbox._proto import sandbox_pb2

from support.rpc import Rpc, refused

LIMIT = 60
# Above what the client sends in one message.
LARGE = 40 << 20


def test_what_is_written_is_read_back(box):
    for content in (b"", b"text\n", bytes(range(256)) * 100):
        box.write_file("/tmp/file", content).result(timeout=LIMIT)
        assert box.read_file("/tmp/file").result(timeout=LIMIT) == content


def test_a_shorter_content_replaces_a_longer_one(box):
    box.write_file("/tmp/shrinks", b"a long content").result(timeout=LIMIT)
    box.write_file("/tmp/shrinks", b"short").result(timeout=LIMIT)
    assert box.read_file("/tmp/shrinks").result(timeout=LIMIT) == b"short"


def test_directories_on_the_way_are_made(box):
    box.write_file("/tmp/not/there/yet/file", b"x").result(timeout=LIMIT)
    assert box.exec(["cat", "/tmp/not/there/yet/file"]).result(timeout=LIMIT).stdout == "x"


def test_the_mode_of_a_file_that_is_written_again_stays(box):
    box.write_file("/tmp/script", b"#!/bin/sh\necho one\n").result(timeout=LIMIT)
    box.exec(["chmod", "750", "/tmp/script"]).result(timeout=LIMIT)
    box.write_file("/tmp/script", b"#!/bin/sh\necho two\n").result(timeout=LIMIT)
    assert box.exec(["/tmp/script"]).result(timeout=LIMIT).stdout == "two\n"


def test_names_may_hold_anything_but_nul(box):
    path = "/tmp/ a 'b' \"c\" $d \u00fc\n"
    box.write_file(path, b"odd").result(timeout=LIMIT)
    assert box.read_file(path).result(timeout=LIMIT) == b"odd"


def test_a_file_just_below_the_clients_own_bound_goes_by_one_message(box):
    content = os.urandom((32 << 20) - 1)
    box.write_file("/tmp/below", content).result(timeout=LIMIT)
    assert box.read_file("/tmp/below").result(timeout=LIMIT) == content
    box.exec(["rm", "/tmp/below"]).result(timeout=LIMIT)


def test_a_large_file_goes_both_ways(box):
    content = os.urandom(LARGE)
    box.write_file("/tmp/large", content).result(timeout=LIMIT)
    assert box.read_file("/tmp/large").result(timeout=LIMIT) == content
    box.exec(["rm", "/tmp/large"]).result(timeout=LIMIT)


def test_a_file_larger_than_a_message_is_read_by_the_clients_own_way(box):
    script = "head -c 110000000 /dev/urandom >/tmp/huge; sha256sum </tmp/huge"
    digest = box.exec(["sh", "-c", script]).result(timeout=LIMIT).stdout.split()[0]
    content = box.read_file("/tmp/huge").result(timeout=LIMIT)
    assert (len(content), hashlib.sha256(content).hexdigest()) == (110_000_000, digest)
    box.exec(["rm", "/tmp/huge"]).result(timeout=LIMIT)


def test_streams_carry_what_does_not_fit_into_memory_at_once(box):
    digest, pieces = hashlib.sha256(), 40

    def source():
        for _ in range(pieces):
            piece = os.urandom(1 << 20)
            digest.update(piece)
            yield piece

    box.write_file_streaming("/tmp/stream", source()).result(timeout=LIMIT)
    back, length = hashlib.sha256(), 0
    for piece in box.read_file_streaming("/tmp/stream"):
        back.update(piece)
        length += len(piece)
    assert (length, back.hexdigest()) == (pieces << 20, digest.hexdigest())
    box.exec(["rm", "/tmp/stream"]).result(timeout=LIMIT)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/tmp/is/not/there", "CWSANDBOX_FILE_NOT_FOUND"),
        ("/tmp", "CWSANDBOX_FILE_IS_DIRECTORY"),
        ("/proc/1/environ", "CWSANDBOX_FILE_PERMISSION_DENIED"),
        ("/tmp/pipe", "CWSANDBOX_FILE_IO_FAILED"),
        ("/dev/zero", "CWSANDBOX_FILE_IO_FAILED"),
        ("/tmp/loop", "CWSANDBOX_FILE_IO_FAILED"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_says_why_and_which(box, path, reason):
    script = "mkfifo /tmp/pipe; ln -s loop /tmp/loop"
    box.exec(["sh", "-c", script]).result(timeout=LIMIT)
    with pytest.raises(SandboxFileError) as caught:
        box.read_file(path).result(timeout=LIMIT)
    assert (caught.value.reason, caught.value.filepath) == (reason, path)
    assert caught.value.metadata["filepath"] == path


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/tmp", "CWSANDBOX_FILE_IS_DIRECTORY"),
        ("/usr/bin/new", "CWSANDBOX_FILE_PERMISSION_DENIED"),
        ("/etc/hostname/below", "CWSANDBOX_FILE_IO_FAILED"),
    ],
)
def test_what_cannot_be_written_is_an_error_that_says_why_and_which(box, path, reason):
    with pytest.raises(SandboxFileError) as caught:
        box.write_file(path, b"x").result(timeout=LIMIT)
    assert (caught.value.reason, caught.value.filepath) == (reason, path)


def test_a_file_that_is_larger_than_a_message_is_refused_with_its_size_and_the_bound(box, rpc: Rpc):
    box.exec(["truncate", "-s", "150000000", "/tmp/sparse"]).result(timeout=LIMIT)
    with refused() as refusal:
        rpc.ReadFile(sandbox_pb2.ReadFileRequest(sandbox_id=box.sandbox_id, path="/tmp/sparse"))
    assert refusal.info.reason == "CWSANDBOX_FILE_TOO_LARGE"
    assert refusal.info.metadata["size_bytes"] == "150000000"
    assert int(refusal.info.metadata["max_size_bytes"]) < 100 << 20
    box.exec(["rm", "/tmp/sparse"]).result(timeout=LIMIT)
