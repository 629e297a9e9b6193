"""The same from asynchronous code."""

import asyncio

import pytest
from cwsandbox import Sandbox, SandboxDefaults, SandboxExecutionError, SandboxNotFoundError, Session

from support.features import needs

LIMIT = 60


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, LIMIT))


def test_a_sandbox_is_made_used_and_ended(daemon):
    async def use():
        async with Sandbox(tags=["async"]) as sandbox:
            await sandbox
            result = await sandbox.exec(["sh", "-c", "echo out; echo err >&2; exit 3"])
            assert (result.stdout, result.stderr, result.returncode) == ("out\n", "err\n", 3)
            with pytest.raises(SandboxExecutionError):
                await sandbox.exec(["false"], check=True)
            await sandbox.write_file("/tmp/file", b"content")
            assert await sandbox.read_file("/tmp/file") == b"content"
            assert len(await Sandbox.list(tags=["async"])) == 1
            found = await Sandbox.from_id(sandbox.sandbox_id)
            assert str(found.status) == "running"
        assert str(sandbox.status) == "completed"
        with pytest.raises(SandboxNotFoundError):
            await Sandbox.delete("no-such-sandbox")

    run(use())


@needs("streams in any event loop")
def test_streams_are_read_as_they_come(daemon, box):
    async def use():
        process = box.exec(["sh", "-c", "echo one; read line; echo two $line"], stdin=True)
        output = aiter(process.stdout)
        assert await anext(output) == "one\n"
        await process.stdin.writeline("three")
        assert await anext(output) == "two three\n"
        assert (await process).returncode == 0

    run(use())


@needs("streams in any event loop")
def test_logs_are_followed_to_the_end(daemon):
    async def use():
        sandbox = Sandbox.run("/bin/sh", "-c", "for n in 1 2 3; do echo $n; sleep 0.1; done")
        assert [line async for line in sandbox.stream_logs(follow=True)] == ["1\n", "2\n", "3\n"]
        await sandbox.wait_until_complete(timeout=LIMIT)
        assert sandbox.returncode == 0

    run(use())


def test_a_session_runs_many_at_once_and_ends_them(daemon):
    async def use():
        async with Session(SandboxDefaults(tags=("many",))) as session:
            sandboxes = [session.sandbox() for _ in range(4)]
            results = await asyncio.gather(
                *(sandbox.exec(["sh", "-c", f"echo {n}"]) for n, sandbox in enumerate(sandboxes))
            )
            assert [result.stdout for result in results] == ["0\n", "1\n", "2\n", "3\n"]
        assert await Sandbox.list(tags=["many"]) == []

    run(use())
