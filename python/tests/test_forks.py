"""Processes that are forked from one with sandboxes, and processes that are not."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.home import LATE_SECONDS, Home
from helpers.script import Scripts

from support.daemon import Daemon
from support.kernel import wait_until_nothing_is_left


@pytest.fixture
def daemon(tmp_path: Path, home: Home) -> Iterator[Daemon]:
    """One that is reached over the network; `home` has the machine for it."""
    daemon = Daemon(tmp_path)
    daemon.start()
    yield daemon
    daemon.shut_down()
    wait_until_nothing_is_left(daemon.marks())


def test_a_forked_child_has_its_own_sandboxes_and_not_its_parents(home: Home, scripts: Scripts) -> None:
    ended = scripts.check("""
        import os, sys, traceback
        from ebbtide import Sandbox, SandboxError, Session, EbbtideError
        session = Session()
        box, member = Sandbox.run().wait(), session.sandbox().wait()
        name = box.sandbox_id
        process = box.exec(["sh", "-c", "sleep 3; echo done"])
        child = os.fork()
        if child == 0:
            try:
                for use in (box.get_status, lambda: box.exec(["true"]), process.result, session.close, box.stop,
                            lambda: next(process.stdout)):
                    try:
                        use()
                        raise AssertionError("it works in the child")
                    except EbbtideError as error:
                        assert "forked" in str(error), error
                # By its id it is found like anybody's.
                assert Sandbox.from_id(name).result().exec(["echo", "hi"]).result().stdout == "hi\\n"
                with Sandbox.run() as mine:
                    assert mine.exec(["echo", "child"]).result().stdout == "child\\n"
                left = Sandbox.run()
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            # Ends as any process does: with what is its own.
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        # The parent and what it has go on.
        assert process.result().stdout == "done\\n"
        assert box.exec(["echo", "parent"]).result().stdout == "parent\\n"
        assert [box.get_status(), member.get_status()] == ["running", "running"]
        assert len(Sandbox.list().result()) == 2
    """)
    assert ended.stderr == "", ended
    assert home.running() == []


# What is connected to an address: descriptors, and what the kernel numbers them by. The end of a pair has no address.
CONNECTIONS = """
import os, socket
def connections():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            with socket.socket(fileno=os.dup(int(name))) as one:
                if one.getpeername():
                    found[int(name)] = os.fstat(one.fileno()).st_ino
        except OSError:
            pass
    return found
"""

HOLDS_NONE = (
    CONNECTIONS
    + """
from ebbtide import Sandbox
with Sandbox.run() as box:
    assert connections()
    child = os.fork()
    if child == 0:
        os._exit(len(connections()))
    assert os.waitpid(child, 0)[1] == 0
    # Closed there and not shut down.
    before = connections()
    assert box.exec(["echo", "hi"]).result().stdout == "hi\\n"
    assert connections() == before
"""
)


def test_a_forked_child_holds_no_connection_of_its_parent(scripts: Scripts) -> None:
    scripts.check(HOLDS_NONE)


def test_a_forked_child_holds_no_connection_of_its_parent_over_the_network(scripts: Scripts, daemon: Daemon) -> None:
    scripts.check(HOLDS_NONE, EBBTIDE_URL=daemon.url, EBBTIDE_API_KEY=daemon.key)


@pytest.mark.parametrize("arguments", [(), ("reuse",)])
def test_a_child_that_python_was_not_told_of_has_its_own_too(arguments: tuple[str, ...], scripts: Scripts) -> None:
    script = scripts.start(
        CONNECTIONS
        + """
import ctypes, sys, traceback
from ebbtide import EbbtideError, Sandbox

def use():
    try:
        box.get_status()
        raise AssertionError("it works in the child")
    except EbbtideError as error:
        assert "forked" in str(error), error
    parents = connections()
    assert parents
    files = parents if "reuse" in sys.argv else []
    for number in files:
        os.dup2(nothing, number)
    with Sandbox.run() as mine:
        assert mine.exec(["echo", "child"]).result().stdout == "child\\n"
        assert connections() and not set(connections().values()) & set(parents.values())
    # What has the number of a connection now is nobody's to close.
    assert all(os.path.samestat(os.fstat(file), os.fstat(nothing)) for file in files)

nothing = os.open("/dev/null", os.O_RDONLY)
with Sandbox.run() as box:
    child = ctypes.PyDLL(None).fork()
    if child == 0:
        code = 1
        try:
            use()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    assert box.exec(["echo", "parent"]).result().stdout == "parent\\n"
""",
        arguments=arguments,
    )
    ended = script.finish()
    assert (ended.code, ended.stderr) == (0, ""), ended


def test_a_forked_child_calls_over_a_connection_of_its_own(scripts: Scripts, daemon: Daemon) -> None:
    scripts.check(
        """
        import os, traceback
        from ebbtide import Sandbox
        with Sandbox.run() as box:
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    with Sandbox.run() as mine:
                        code = 0 if mine.exec(["echo", "child"]).result().stdout == "child\\n" else 2
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
            assert box.exec(["echo", "parent"]).result().stdout == "parent\\n"
        """,
        EBBTIDE_URL=daemon.url,
        EBBTIDE_API_KEY=daemon.key,
    )


def test_a_child_that_lives_on_does_not_keep_its_parents_sandboxes(home: Home, scripts: Scripts) -> None:
    script = scripts.start("""
        import os, signal, sys, time
        from ebbtide import Sandbox
        boxes = [Sandbox.run() for _ in range(3)]
        child = os.fork()
        if child == 0:
            time.sleep(600)
            os._exit(0)
        print("child", child, flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """)
    child = int(script.wait_for("child")[0])
    script.process.wait(timeout=60)
    home.wait_until_running(0, LATE_SECONDS)
    os.kill(child, signal.SIGKILL)


def test_workers_of_multiprocessing_work_however_they_are_started(home: Home, scripts: Scripts) -> None:
    for method in ("fork", "spawn", "forkserver"):
        ended = scripts.check(f"""
            import multiprocessing
            from ebbtide import Sandbox

            def work(number):
                with Sandbox.run() as box:
                    return box.exec(["echo", str(number)]).result().stdout

            if __name__ == "__main__":
                box = Sandbox.run().wait()
                with multiprocessing.get_context({method!r}).Pool(3) as pool:
                    assert pool.map(work, range(6)) == [f"{{number}}\\n" for number in range(6)]
                assert box.exec(["echo", "hi"]).result().stdout == "hi\\n"
        """)
        assert ended.stderr == "", ended
        assert home.running() == []


def test_a_worker_that_ends_leaves_nothing(home: Home, scripts: Scripts) -> None:
    for method in ("fork", "spawn"):
        scripts.check(f"""
            import multiprocessing
            from ebbtide import Sandbox

            def work():
                boxes = [Sandbox.run() for _ in range(2)]

            if __name__ == "__main__":
                worker = multiprocessing.get_context({method!r}).Process(target=work)
                worker.start()
                worker.join()
                assert worker.exitcode == 0
                assert Sandbox.list().result() == []
        """)


def test_a_worker_that_is_terminated_ends_as_ever(home: Home, scripts: Scripts) -> None:
    scripts.check("""
        import multiprocessing, time
        from ebbtide import Sandbox

        def idle():
            time.sleep(1000)

        box = Sandbox.run().wait()
        worker = multiprocessing.get_context("fork").Process(target=idle)
        worker.start()
        time.sleep(0.3)
        worker.terminate()
        worker.join(60)
        assert worker.exitcode == -15, worker.exitcode
        assert box.get_status() == "running"
    """)


def test_children_that_are_forked_at_once_make_sandboxes_of_their_own(home: Home, scripts: Scripts) -> None:
    scripts.check("""
        import os, time
        from ebbtide import Sandbox
        Sandbox().stop()
        begin = time.time() + 0.5
        children = []
        for number in range(8):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    # In the same millisecond, with the same random numbers to come.
                    time.sleep(max(0, begin - time.time()))
                    box = Sandbox.run(tags=[str(number)])
                    code = 0 if box.tags == [str(number)] else 2
                    box.stop().result()
                finally:
                    os._exit(code)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    """)


def test_a_fork_while_other_threads_are_busy_hangs_nobody(home: Home, scripts: Scripts) -> None:
    scripts.check("""
        import os, threading
        from ebbtide import Sandbox
        box = Sandbox.run().wait()
        over = False
        def busy():
            while not over:
                box.exec(["echo", "x"]).result()
                Sandbox().stop()
        threads = [threading.Thread(target=busy) for _ in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(40):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    found = Sandbox.list().result(timeout=60)
                    code = 0 if found else 2
                finally:
                    os._exit(code)
            assert os.waitpid(child, 0)[1] == 0
        over = True
        for thread in threads:
            thread.join()
    """)
