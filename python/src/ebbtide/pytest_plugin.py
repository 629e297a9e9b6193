r"""Sandboxes for tests: the fixtures `sandbox` and `sandbox_session`.

    def test_it(sandbox):
        assert sandbox.exec(["echo", "hello"]).result().stdout == "hello\n"

Each test has its own, which ends with it. `--sandbox-image IMAGE` (or `sandbox_image` in pytest's configuration) says
what they are made of. With `--sandbox-keep` those of a test that failed are left for whoever looks into it; they end by
themselves after an hour, and the summary says how to get in.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from ebbtide import Sandbox, SandboxDefaults, Session

_KEPT_SECONDS = 3600.0
_failed = pytest.StashKey[bool]()
_kept = pytest.StashKey[list[tuple[str, str]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the options."""
    group = parser.getgroup("sandbox", "sandboxes")
    group.addoption("--sandbox-image", metavar="IMAGE", help="what sandboxes of tests are made of")
    group.addoption(
        "--sandbox-keep", action="store_true", help="keep the sandboxes of a test that fails, for an hour at most"
    )
    parser.addini("sandbox_image", "what sandboxes of tests are made of")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remembers which tests have failed."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
    return report


@pytest.fixture
def sandbox_session(request: pytest.FixtureRequest) -> Iterator[Session]:
    """A session whose sandboxes end with the test."""
    config = request.config
    keep = bool(config.getoption("sandbox_keep"))
    session = Session(
        SandboxDefaults(
            container_image=config.getoption("sandbox_image") or config.getini("sandbox_image") or None,
            tags=("pytest",),
            annotations={"pytest/test": request.node.nodeid},
            # Whether a test fails is known too late to say so then.
            detach=keep,
            max_lifetime_seconds=_KEPT_SECONDS if keep else None,
        )
    )
    yield session
    if keep and request.node.stash.get(_failed, False):
        _keep(request, session)
    else:
        session.close().result()


@pytest.fixture
def sandbox(sandbox_session: Session) -> Sandbox:
    """A sandbox that ends with the test."""
    return sandbox_session.sandbox()


def _keep(request: pytest.FixtureRequest, session: Session) -> None:
    kept = request.config.stash.setdefault(_kept, [])
    for sandbox in session.list().result():
        if (sandbox.annotations or {}).get("pytest/test") == request.node.nodeid:
            kept.append((request.node.nodeid, sandbox.sandbox_id or ""))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says what was kept."""
    kept = config.stash.get(_kept, [])
    if kept:
        terminalreporter.section("sandboxes of failed tests")
    for test, name in kept:
        terminalreporter.line(f"{test}: ebb shell {name}; ebb stop {name}")
