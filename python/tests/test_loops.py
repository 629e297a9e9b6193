"""Event loops of every kind, and many at once."""

import pytest
from helpers.home import Home
from helpers.script import Scripts

EVERYTHING = """
import asyncio, hashlib, signal, sys
from ebbtide import OperationRef, Sandbox, SandboxError, Session, results

async def use():
    async with Session() as session, session.sandbox() as box:
        await box
        process = box.exec(["sh", "-c", "cat; echo done >&2"], stdin=True)
        await process.stdin.write(b"hi")
        await process.stdin.close()
        assert [piece async for piece in process.stdout] == ["hi"]
        result = await process
        assert (result.stdout, result.stderr, result.returncode) == ("hi", "done\\n", 0)
        await box.write_file("/tmp/x", b"x" * 1000)
        assert await box.read_file("/tmp/x") == b"x" * 1000
        assert b"".join([piece async for piece in box.read_file_streaming("/tmp/x")]) == b"x" * 1000

        async def pieces():
            for _ in range(10):
                await asyncio.sleep(0)
                yield b"y" * 100
        await box.write_file_streaming("/tmp/y", pieces())
        assert await box.read_file("/tmp/y") == b"y" * 1000
        (found,) = await Sandbox.list()
        assert found.sandbox_id == box.sandbox_id

        # A reader that is given up has lost nothing.
        late = "while ! test -e $0; do sleep 0.02; done; echo late"
        slow = box.exec(["sh", "-c", late, "/tmp/first"])
        try:
            await asyncio.wait_for(slow.stdout.__anext__(), 0.05)
        except asyncio.TimeoutError:
            await box.write_file("/tmp/first", b"")
        assert [piece async for piece in slow.stdout] == ["late\\n"]
        # Neither has an operation.
        waiting = box.exec(["sh", "-c", late, "/tmp/second"])
        try:
            await asyncio.wait_for(waiting, 0.05)
        except asyncio.TimeoutError:
            await box.write_file("/tmp/second", b"")
        assert (await waiting).stdout == "late\\n"
        # The same operation, awaited by several at once.
        shared = box.exec(["echo", "shared"])
        all_of_them = await asyncio.gather(*[wait(shared) for _ in range(5)])
        assert [result.stdout for result in all_of_them] == ["shared\\n"] * 5
        try:
            async with box:
                raise ZeroDivisionError
        except ZeroDivisionError:
            pass
        assert box.status == "completed"

async def wait(ref):
    return await ref
"""

HUNDRED = """
import asyncio, hashlib, threading
from ebbtide import Sandbox

# Each command writes something of its own, on both outputs.
def command(number):
    return ["sh", "-c", f"seq {number} $(({number} + 20000)); seq {number} $(({number} + 999)) >&2"]

def expected(number):
    text = lambda last: "".join(f"{line}\\n" for line in range(number, last + 1))
    return text(number + 20000), text(number + 999)

def check(number, result):
    assert result.returncode == 0
    assert (result.stdout, result.stderr) == expected(number), number
"""


@pytest.mark.parametrize("debug", ["", "1"])
def test_everything_works_on_an_event_loop(debug: str, home: Home, scripts: Scripts) -> None:
    ended = scripts.check(EVERYTHING + "asyncio.run(use())\nasyncio.run(use())\n", PYTHONASYNCIODEBUG=debug)
    assert "Traceback" not in ended.stderr, ended
    assert home.running() == []


def test_everything_works_on_uvloop(home: Home, scripts: Scripts) -> None:
    pytest.importorskip("uvloop")
    ended = scripts.check(EVERYTHING + "import uvloop\nuvloop.install()\nasyncio.run(use())\nasyncio.run(use())\n")
    assert "Traceback" not in ended.stderr, ended
    assert home.running() == []


def test_one_sandbox_can_be_used_from_several_loops_in_several_threads(scripts: Scripts) -> None:
    scripts.check("""
        import asyncio, threading
        from ebbtide import Sandbox
        with Sandbox.run() as box:
            said = []
            async def use():
                for _ in range(10):
                    said.append((await box.exec(["echo", "hi"])).stdout)
            threads = [threading.Thread(target=lambda: asyncio.run(use())) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert said == ["hi\\n"] * 40
    """)


def test_a_hundred_commands_at_once_from_one_loop_lose_nothing(scripts: Scripts) -> None:
    scripts.check(
        HUNDRED
        + """
async def main():
    async with Sandbox.run() as box:
        async def one(number):
            check(number, await box.exec(command(number)))
        await asyncio.gather(*[one(number) for number in range(100)])
asyncio.run(main())
""",
        PYTHONASYNCIODEBUG="1",
    )


def test_a_hundred_commands_from_32_threads_lose_nothing(scripts: Scripts) -> None:
    scripts.check(
        HUNDRED
        + """
from concurrent.futures import ThreadPoolExecutor
with Sandbox.run() as box, ThreadPoolExecutor(32) as pool:
    def one(number):
        process = box.exec(command(number))
        # Half of them by their streams, which must not change what the result has.
        if number % 2:
            assert ("".join(process.stdout), "".join(process.stderr)) == expected(number)
        check(number, process.result(timeout=100))
    list(pool.map(one, range(100)))
"""
    )


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("first", ["before", "inside"])
def test_ctrl_c_ends_an_event_loop_and_its_sandboxes(loop: str, first: str, home: Home, scripts: Scripts) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    import signal

    for number, codes in ((signal.SIGINT, (130, -2)), (signal.SIGTERM, (143,))):
        script = scripts.start(f"""
            import asyncio, sys
            import {loop} as loop
            from ebbtide import Sandbox
            if {loop!r} == "uvloop":
                loop.install()
            boxes = [Sandbox.run()] if {first!r} == "before" else []
            async def main():
                boxes.append(await Sandbox())
                async with Sandbox() as box:
                    process = box.exec(["sleep", "100"])
                    print("ready", flush=True)
                    await process
            asyncio.run(main())
        """)
        script.wait_for("ready")
        script.signal(number)
        ended = script.finish()
        assert ended.code in codes, ended
        assert home.running() == []
