"""Finding sandboxes: by tag, by state, by id, living and ended, and taking them over."""

import pytest
from cwsandbox import Sandbox, SandboxDefaults, SandboxNotFoundError, Session

LIMIT = 60


def ids(sandboxes: list[Sandbox]) -> set[str]:
    return {sandbox.sandbox_id for sandbox in sandboxes}


@pytest.fixture(scope="module")
def three(daemon):
    """Two that live and one that has ended, with tags."""
    with Session(SandboxDefaults(tags=("shared", "three"))) as session:
        red, blue = session.sandbox(tags=["red"]), session.sandbox(tags=["blue", "red"])
        for sandbox in (red, blue):
            sandbox.start().result(timeout=LIMIT)
            sandbox.wait(timeout=LIMIT)
        ended = Sandbox.run("true", tags=["three", "red"])
        ended.wait_until_complete(timeout=LIMIT).result()
        yield red, blue, ended


def test_a_listing_has_what_lives_and_has_all_the_tags(three):
    red, blue, _ = three
    assert ids(Sandbox.list(tags=["three"]).result(timeout=LIMIT)) == ids([red, blue])
    assert ids(Sandbox.list(tags=["three", "blue"]).result(timeout=LIMIT)) == ids([blue])
    assert Sandbox.list(tags=["three", "green"]).result(timeout=LIMIT) == []


def test_what_has_ended_is_listed_if_so_asked(three):
    found = Sandbox.list(tags=["three"], show_terminated=True).result(timeout=LIMIT)
    assert ids(found) == ids(three)
    states = {sandbox.sandbox_id: str(sandbox.status) for sandbox in found}
    assert [states[sandbox.sandbox_id] for sandbox in three] == ["running", "running", "completed"]


def test_a_listing_by_state_has_that_state_only_ended_or_not(three):
    red, blue, ended = three
    assert ids(Sandbox.list(tags=["three"], status="running").result(timeout=LIMIT)) == ids([red, blue])
    assert ids(Sandbox.list(tags=["three"], status="completed").result(timeout=LIMIT)) == ids([ended])
    assert Sandbox.list(tags=["three"], status="failed").result(timeout=LIMIT) == []


def test_a_listing_by_runner_knows_the_one_that_there_is(three):
    red, blue, _ = three
    runner = red.runner_id
    assert ids(Sandbox.list(tags=["three"], runner_ids=[runner]).result(timeout=LIMIT)) == ids([red, blue])
    assert Sandbox.list(tags=["three"], runner_ids=["elsewhere"]).result(timeout=LIMIT) == []


def test_an_id_leads_to_the_sandbox_whether_it_lives_or_not(three):
    red, _, ended = three
    found = Sandbox.from_id(red.sandbox_id).result(timeout=LIMIT)
    assert str(found.status) == "running"
    assert found.exec(["echo", "found"]).result(timeout=LIMIT).stdout == "found\n"
    assert str(Sandbox.from_id(ended.sandbox_id).result(timeout=LIMIT).status) == "completed"
    with pytest.raises(SandboxNotFoundError):
        Sandbox.from_id("no-such-sandbox").result(timeout=LIMIT)


def test_a_session_ends_what_it_has_adopted(daemon):
    forgotten, listed, named = (Sandbox.run(tags=["orphan"]).wait(timeout=LIMIT) for _ in range(3))
    with Session() as session:
        session.adopt(forgotten)
        session.from_id(named.sandbox_id).result(timeout=LIMIT)
        session.list(tags=["orphan"], adopt=True).result(timeout=LIMIT)
        assert session.sandbox_count >= 3
    for sandbox in (forgotten, listed, named):
        assert str(Sandbox.from_id(sandbox.sandbox_id).result(timeout=LIMIT).status) == "completed"


def test_a_session_lists_its_own(three):
    red, blue, _ = three
    with Session(SandboxDefaults(tags=("three",))) as session:
        assert ids(session.list().result(timeout=LIMIT)) == ids([red, blue])
        assert ids(session.list(tags=["blue"]).result(timeout=LIMIT)) == ids([blue])
        assert session.sandbox_count == 0
