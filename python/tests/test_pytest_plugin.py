"""The fixtures for other people's tests."""

import subprocess
import sys
from pathlib import Path

import pytest
from helpers.home import Home

TESTS = """
def test_passes(sandbox):
    assert sandbox.exec(["echo", "hello"]).result().stdout == "hello\\n"

def test_fails(sandbox, sandbox_session):
    other = sandbox_session.sandbox().wait()
    assert sandbox.exec(["echo", "hello"]).result().stdout == "bye\\n"

def test_needs_none(sandbox):
    pass
"""


def run(directory: Path, home: Home, *options: str) -> str:
    (directory / "test_of_somebody.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, "."]
    if "ebbtide" not in {name for name, _ in _plugins()}:
        command[3:3] = ["-p", "ebbtide.pytest_plugin"]
    done = subprocess.run(command, cwd=directory, env=home.environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    return done.stdout


def _plugins() -> list[tuple[str, str]]:
    """What was installed, as opposed to what lies on the path."""
    from importlib.metadata import distributions

    entries = [entry for found in distributions() for entry in found.entry_points if entry.group == "pytest11"]
    return [(entry.name, entry.value) for entry in entries]


def test_each_test_has_its_own_sandboxes_which_end_with_it(home: Home, tmp_path: Path) -> None:
    said = run(tmp_path, home)
    assert "sandboxes of failed tests" not in said
    assert home.running() == []


def test_those_of_a_test_that_failed_are_kept_if_asked_for(home: Home, tmp_path: Path) -> None:
    said = run(tmp_path, home, "--sandbox-keep", "--sandbox-image", "python:3.11")
    running = home.running("pytest")
    assert len(running) == 2
    for name in running:
        assert f"test_of_somebody.py::test_fails: ebb shell {name}" in said
        about = home.get(name)
        assert about["lifetime_seconds"] == 3600
        assert about["owner_pid"] is None
        home.ebb("stop", name)


def test_tests_in_several_processes_do_not_disturb_each_other(home: Home, tmp_path: Path) -> None:
    pytest.importorskip("xdist")
    run(tmp_path, home, "-n", "3")
    assert home.running() == []
