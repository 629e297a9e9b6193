"""What the handlers of signals do, and what they leave alone."""

import signal
from pathlib import Path

from helpers.home import Home
from helpers.script import Scripts

from ebbtide import Sandbox


def test_importing_the_package_installs_nothing(scripts: Scripts) -> None:
    scripts.check("""
        import asyncio, atexit, logging, signal, threading
        before = [signal.getsignal(number) for number in range(1, 32)]
        callbacks = atexit._ncallbacks()
        import ebbtide
        from ebbtide import Sandbox, Session
        Session(), Sandbox()
        assert [signal.getsignal(number) for number in range(1, 32)] == before
        assert atexit._ncallbacks() == callbacks
        assert threading.active_count() == 1
    """)


def test_ctrl_c_works_while_waiting_for_a_result_in_no_time(scripts: Scripts) -> None:
    scripts.check("""
        import _thread, os, signal, threading, time
        from ebbtide import Sandbox
        with Sandbox.run() as sandbox:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            process = sandbox.exec(["sleep", "100"])
            reader = iter(process.stdout)
            refs = [process.result, process.wait, lambda: next(reader), sandbox.wait_until_complete().result]
            for wait in refs:
                def interrupt():
                    global sent
                    time.sleep(0.3)
                    sent = time.monotonic()
                    os.kill(os.getpid(), signal.SIGINT)
                late = []
                # A busy machine may be late now and then.
                while not late or (min(late) >= 0.1 and len(late) < 20):
                    threading.Thread(target=interrupt).start()
                    try:
                        wait()
                    except KeyboardInterrupt:
                        late.append(time.monotonic() - sent)
                    else:
                        raise AssertionError("not interrupted")
                assert min(late) < 0.1, late
    """)


def test_handlers_that_were_there_are_called(home: Home, scripts: Scripts) -> None:
    ended = scripts.check("""
        import os, signal, sys, time
        from ebbtide import Sandbox
        def handler(number, frame):
            print("handled", number, flush=True)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, handler)
        sandbox = Sandbox.run().wait()
        for number in (signal.SIGHUP, signal.SIGINT):
            os.kill(os.getpid(), number)
            # The process goes on, and so does what it makes from now on.
            sandbox.wait_until_complete(timeout=60, raise_on_termination=False).result()
            sandbox = Sandbox.run()
            assert sandbox.exec(["echo", "hi"]).result().stdout == "hi\\n"
    """)
    assert ended.stdout == "handled 1\nhandled 2\n"
    assert home.running() == []


def test_after_a_ctrl_c_that_was_caught_everything_works_and_is_cleaned_up(home: Home, scripts: Scripts) -> None:
    scripts.check("""
        import os, signal
        from ebbtide import Sandbox
        first = Sandbox.run().wait()
        for _ in range(3):
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                pass
            first.wait_until_complete(timeout=60, raise_on_termination=False).result()
            first = Sandbox.run().wait()
    """)
    assert home.running() == []


def test_signals_that_are_ignored_stay_ignored(home: Home, scripts: Scripts) -> None:
    scripts.check("""
        import os, signal
        from ebbtide import Sandbox
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with Sandbox.run() as sandbox:
            os.kill(os.getpid(), signal.SIGHUP)
            assert sandbox.exec(["echo", "hi"]).result().stdout == "hi\\n"
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    """)


def test_a_process_without_sandboxes_is_ended_by_a_signal_as_ever(scripts: Scripts) -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        script = scripts.start("""
            import time
            from ebbtide import Sandbox
            Sandbox.run().stop().result()
            print("ready", flush=True)
            time.sleep(1000)
        """)
        script.wait_for("ready")
        script.signal(number)
        assert script.finish().code == -number


def test_handlers_can_be_switched_off(home: Home, scripts: Scripts) -> None:
    program = """
        import os, signal, sys, time
        import ebbtide
        if sys.argv[1:]:
            ebbtide.disable_signal_handlers()
        box = ebbtide.Sandbox.run()
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    """
    # What ends the process normally still ends its sandboxes.
    scripts.check(program, EBBTIDE_DISABLE_SIGNAL_HANDLERS="1")
    assert scripts.start(program, arguments=("off",)).finish().code == 0
    assert home.running() == []
    ended = scripts.run("import ebbtide\nbox = ebbtide.Sandbox.run()\nebbtide.disable_signal_handlers()")
    assert "before the first sandbox" in ended.stderr


def test_the_first_sandbox_may_be_made_in_any_thread(home: Home, scripts: Scripts) -> None:
    script = scripts.start("""
        import signal, threading, time
        from ebbtide import Sandbox
        boxes = []
        thread = threading.Thread(target=lambda: boxes.append(Sandbox.run()))
        thread.start()
        thread.join()
        # Python has handlers set in the main thread only, which does so with its next call.
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
        boxes[0].wait()
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
        print("ready", flush=True)
        time.sleep(1000)
    """)
    script.wait_for("ready")
    script.signal(signal.SIGTERM)
    assert script.finish().code == 143
    assert home.running() == []


def test_a_sandbox_that_is_being_made_at_ctrl_c_is_ended_too(home: Home, scripts: Scripts) -> None:
    script = scripts.start("""
        from ebbtide import Sandbox
        print("ready", flush=True)
        while True:
            [Sandbox(tags=["many"]).start() for _ in range(3)]
            Sandbox.run()
    """)
    script.wait_for("ready")
    home.wait_until_some_run(5)
    script.signal(signal.SIGINT)
    ended = script.finish()
    assert ended.code in (130, -2), ended
    assert home.running() == []


def test_a_signal_is_heard_while_an_object_is_destroyed(home: Home, scripts: Scripts) -> None:
    """Whatever is raised there Python reports as ignored, and goes on."""
    for number, codes in ((signal.SIGINT, (130, -2)), (signal.SIGTERM, (143,))):
        script = scripts.start("""
            import time
            from ebbtide import Sandbox
            class Slow:
                def __del__(self):
                    print("ready", flush=True)
                    time.sleep(1)
            box = Sandbox.run()
            while True:
                Slow()
                time.sleep(0.1)
        """)
        script.wait_for("ready")
        script.signal(number)
        ended = script.finish()
        assert ended.code in codes, ended
        assert "ignored" not in ended.stderr, ended
        assert home.running() == []


def test_the_daemon_that_a_program_starts_hears_signals(home: Home) -> None:
    with Sandbox.run():
        pid = (home.path / "daemon.lock").read_text().strip()
        status = Path(f"/proc/{pid}/status").read_text()
        assert "SigBlk:\t0000000000000000\n" in status
