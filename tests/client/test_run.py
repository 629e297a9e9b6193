"""Making a sandbox: its command, what it is given, what is said of it."""

import pytest
from cwsandbox import Sandbox, SandboxDefaults, SandboxFailedError, Session

from support.features import has, needs
from support.rpc import Rpc

LIMIT = 60


def test_the_quick_start_works_with_nothing_but_the_environment(daemon):
    with Sandbox.run() as sandbox:
        result = sandbox.exec(["echo", "Hello!"]).result(timeout=LIMIT)
        assert (result.stdout, result.returncode) == ("Hello!\n", 0)
        assert sandbox.sandbox_id
    assert sandbox.status == "completed"


def test_the_exit_code_of_the_main_command_is_the_sandboxes(daemon):
    for code in (0, 7):
        sandbox = Sandbox.run("/bin/sh", "-c", f"exit {code}")
        sandbox.wait_until_complete(timeout=LIMIT).result()
        assert (sandbox.status, sandbox.returncode) == ("completed", code)


def test_a_main_command_that_is_not_there_fails_the_sandbox_with_its_name(daemon):
    sandbox = Sandbox.run("no-such-program")
    words = "no-such-program" if has("the cause in the message") else "failed"
    with pytest.raises(SandboxFailedError, match=words):
        sandbox.wait(timeout=LIMIT)
    assert sandbox.status == "failed"


def test_a_sandbox_is_not_there_before_it_is_needed(daemon):
    with Session(SandboxDefaults(tags=("lazy",))) as session:
        sandbox = session.sandbox()
        assert sandbox.sandbox_id is None
        assert Sandbox.list(tags=["lazy"]).result(timeout=LIMIT) == []
        assert sandbox.exec(["echo", "now"]).result(timeout=LIMIT).stdout == "now\n"
        assert session.sandbox_count == 1
    assert sandbox.status == "completed"


def test_starting_twice_is_one_sandbox(daemon):
    sandbox = Sandbox(tags=["twice"])
    sandbox.start().result(timeout=LIMIT)
    first = sandbox.sandbox_id
    sandbox.start().result(timeout=LIMIT)
    assert sandbox.sandbox_id == first
    assert len(Sandbox.list(tags=["twice"]).result(timeout=LIMIT)) == 1
    sandbox.stop().result(timeout=LIMIT)


def test_environment_and_mounted_files_reach_the_command(daemon):
    files = [{"mount_path": "/tmp/in/greeting", "file_content": "from a file\n"}]
    with Sandbox.run(environment_variables={"GREETING": "from a variable"}, mounted_files=files) as sandbox:
        script = 'echo "$GREETING"; cat /tmp/in/greeting; echo x >/tmp/in/greeting || echo read-only'
        result = sandbox.exec(["sh", "-c", script]).result(timeout=LIMIT)
        assert result.stdout == "from a variable\nfrom a file\nread-only\n"


@needs("working directory")
def test_commands_begin_in_the_working_directory(daemon):
    with Sandbox.run(working_dir="/usr/lib") as sandbox:
        assert sandbox.exec(["pwd"]).result(timeout=LIMIT).stdout == "/usr/lib\n"


def test_resources_are_shown_as_they_were_asked_for_and_enforced(daemon):
    asked = {"requests": {"cpu": "500m", "memory": "128Mi"}, "limits": {"cpu": "1", "memory": "128Mi"}}
    with Sandbox.run(resources=asked) as sandbox:
        sandbox.wait(timeout=LIMIT)
        shown = Sandbox.from_id(sandbox.sandbox_id).result(timeout=LIMIT)
        assert (shown.resource_requests["cpu"], shown.resource_requests["memory"]) == ("500m", "128Mi")
        assert (shown.resource_limits["cpu"], shown.resource_limits["memory"]) == ("1", "128Mi")
        glutton = sandbox.exec(["python3", "-c", "bytearray(1 << 30)"]).result(timeout=LIMIT)
        assert glutton.returncode != 0
        assert sandbox.exec(["echo", "alive"]).result(timeout=LIMIT).stdout == "alive\n"


def test_a_lifetime_ends_the_sandbox(daemon):
    sandbox = Sandbox.run(max_lifetime_seconds=1)
    sandbox.wait_until_complete(timeout=LIMIT).result()
    assert sandbox.status == "completed"


def test_annotations_tags_and_the_request_are_echoed(rpc: Rpc):
    asked = {"container_image": "python:3.11", "tags": ["a", "b"], "annotations": {"team": "blue"}}
    with Sandbox.run(**asked) as sandbox:
        sandbox.wait(timeout=LIMIT)
        spec = rpc.get(sandbox.sandbox_id).spec
        assert list(spec.tags) == ["a", "b"]
        assert dict(spec.annotations) == {"team": "blue"}
        # As it was asked for, not what it stands for here.
        assert spec.containers[0].image == "python:3.11"


@needs("properties from the echo")
def test_what_the_server_says_of_a_sandbox_is_there_as_properties(daemon):
    with Sandbox.run(tags=["a", "b"]) as sandbox:
        sandbox.wait(timeout=LIMIT)
        assert tuple(sandbox.tags) == ("a", "b")
        assert sandbox.created_at.tzinfo is not None
        assert [container.name for container in sandbox.containers] == ["main"]
        assert [status.name for status in sandbox.container_statuses] == ["main"]
        assert sandbox.runner_id


def test_defaults_are_merged_and_the_call_wins(daemon):
    defaults = SandboxDefaults(tags=("base",), environment_variables={"A": "default", "B": "default"})
    with Session(defaults) as session:
        sandbox = session.sandbox(tags=["own"], environment_variables={"B": "call"})
        result = sandbox.exec(["sh", "-c", "echo $A $B"]).result(timeout=LIMIT)
        assert result.stdout == "default call\n"
        found = session.list(tags=["own"]).result(timeout=LIMIT)
        assert [other.sandbox_id for other in found] == [sandbox.sandbox_id]
