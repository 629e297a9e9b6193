"""The life of a sandbox, and of sandboxes that belong together."""

import gc
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest
from helpers.home import Home

from ebbtide import (
    ResourceOptions,
    Sandbox,
    SandboxDefaults,
    SandboxError,
    SandboxFailedError,
    SandboxNotFoundError,
    SandboxNotRunningError,
    SandboxStatus,
    SandboxTerminatedError,
    SandboxTimeoutError,
    Session,
    SnapshotNotSupportedError,
    SnapshotOnStopConflictError,
    results,
    wait,
)


@pytest.fixture
def box(home: Home) -> Iterator[Sandbox]:
    with Sandbox.run(tags=["box"]) as box:
        yield box.wait()


def test_a_sandbox_is_made_by_what_first_needs_it_and_only_once(home: Home) -> None:
    box = Sandbox(tags=["lazy"])
    assert (box.sandbox_id, box.status, box.tags, repr(box)) == (None, None, None, "<Sandbox (not started)>")
    with pytest.raises(SandboxNotRunningError, match="never started"):
        box.get_status()
    with box:
        results([box.start() for _ in range(5)])
        assert len(home.running("lazy")) == 1
        assert box.exec(["echo", "hi"]).result().stdout == "hi\n"
    assert box.status == "completed"


def test_what_is_known_of_a_sandbox(box: Sandbox) -> None:
    assert box.status == SandboxStatus.RUNNING == box.get_status()
    assert f"{box.status}" == "running"
    assert box.tags == ["box"]
    assert box.container_image == "host"
    assert box.created_at is not None
    assert box.started_at is not None
    now = datetime.now(timezone.utc)
    assert now - timedelta(minutes=5) < box.created_at <= box.started_at <= now
    assert box.returncode is None
    assert box.resource_limits is not None
    assert box.max_lifetime_seconds is not None
    assert box.sandbox_id is not None
    assert box.sandbox_id in repr(box)


def test_a_main_command_ends_its_sandbox(home: Home) -> None:
    job = Sandbox.run("sh", "-c", "echo one; echo two; exit 7")
    assert job.wait_until_complete(timeout=60).result() is job
    assert (job.status, job.returncode, job.status_reason) == ("completed", 7, "main_exited")
    assert list(job.stream_logs()) == ["one\n", "two\n"]
    assert list(job.stream_logs(tail_lines=1)) == ["two\n"]
    (stamped,) = job.stream_logs(tail_lines=1, timestamps=True)
    assert stamped.endswith(" two\n")
    with pytest.raises(SandboxNotRunningError):
        job.exec(["true"]).result()
    # It is no failure to stop what has ended.
    job.stop().result()


def test_a_log_is_followed_to_the_end_of_its_sandbox(home: Home) -> None:
    with Sandbox.run("sh", "-c", "for i in 1 2 3; do echo $i; sleep 0.2; done") as job:
        assert list(job.stream_logs(follow=True)) == ["1\n", "2\n", "3\n"]
    with Sandbox.run("sh", "-c", "echo 1; sleep 100") as job:
        reader = job.stream_logs(follow=True)
        assert next(reader) == "1\n"
        reader.close()
        assert list(reader) == []
        with pytest.raises(SandboxTimeoutError):
            list(job.stream_logs(follow=True, timeout_seconds=0.5))


def test_waiting_for_what_does_not_come_ends_in_time(home: Home) -> None:
    with Sandbox.run() as box:
        with pytest.raises(SandboxTimeoutError, match=r"the end of sandbox .* took longer than 0.2 s"):
            box.wait_until_complete(timeout=0.2).result()
        with pytest.raises(TimeoutError, match=r"not over within 0.1 s; it goes on"):
            box.wait_until_complete().result(timeout=0.1)
        box.stop().result()
        with pytest.raises(SandboxTerminatedError, match="stopped") as raised:
            box.wait_until_complete().result()
        assert raised.value.status_reason == "stopped"
        assert box.wait_until_complete(raise_on_termination=False).result() is box


def test_a_sandbox_that_cannot_be_made_says_why(home: Home) -> None:
    # Nobody listens there.
    with pytest.raises(SandboxFailedError, match=r"cannot pull 127\.0\.0\.1:1/has:this") as raised:
        Sandbox.run(container_image="127.0.0.1:1/has:this").wait(timeout=60)
    assert raised.value.sandbox_id
    assert raised.value.status_reason


def test_any_number_of_stops_are_one_stop(home: Home) -> None:
    box = Sandbox.run().wait()
    results([box.stop() for _ in range(10)])
    assert box.status == "completed"
    box.stop(missing_ok=True).result()
    never = Sandbox()
    never.stop().result()
    with pytest.raises(SandboxNotRunningError, match="stopped before it was started"):
        never.start().result()


def test_a_snapshot_that_cannot_be_made_leaves_the_sandbox_alone(box: Sandbox) -> None:
    with pytest.raises(SnapshotNotSupportedError):
        box.stop(snapshot_on_stop=True).result()
    assert box.get_status() == "running"
    box.stop()
    with pytest.raises(SnapshotOnStopConflictError):
        box.stop(snapshot_on_stop=True).result()


def test_sandboxes_are_found_by_tag_state_and_id(home: Home) -> None:
    with Sandbox.run(tags=["a", "b"]) as one, Sandbox.run(tags=["a"]) as two:
        one.wait(), two.wait()
        names = lambda **how: {found.sandbox_id for found in Sandbox.list(**how).result()}  # noqa: E731
        assert names(tags=["a"]) == {one.sandbox_id, two.sandbox_id}
        assert names(tags=["a", "b"]) == {one.sandbox_id}
        assert names(status="running", tags=["b"]) == names(status=SandboxStatus.RUNNING, tags=["b"])
        assert one.sandbox_id is not None
        again = Sandbox.from_id(one.sandbox_id).result()
        assert again.exec(["echo", "hi"]).result().stdout == "hi\n"
        assert again.tags == ["a", "b"]
        Sandbox.delete(one.sandbox_id).result()
        one.wait_until_complete(raise_on_termination=False).result()
        assert names(tags=["a"]) == {two.sandbox_id}
        assert one.sandbox_id in names(tags=["a"], show_terminated=True)
    with pytest.raises(SandboxNotFoundError) as raised:
        Sandbox.from_id("sandbox-abc123").result()
    assert raised.value.sandbox_id == "sandbox-abc123"
    assert (raised.value.reason, raised.value.code) == ("CWSANDBOX_SANDBOX_NOT_FOUND", "NotFound")
    assert raised.value.request_id
    Sandbox.delete("sandbox-abc123", missing_ok=True).result()


def test_what_defaults_and_calls_say_is_merged(home: Home) -> None:
    defaults = SandboxDefaults(
        container_image="python:3.11",
        tags=("all",),
        environment_variables={"X": "1", "Y": "1"},
        annotations={"k": "1"},
        resources={"cpu": "500m", "memory": "256Mi"},
        max_lifetime_seconds=600,
    )
    with Session(defaults) as session:
        box = session.sandbox(
            tags=["one"],
            environment_variables={"Y": "2"},
            annotations={"l": "2"},
            working_dir="/tmp",
            mounted_files=[{"mount_path": "/etc/greeting", "file_content": "hello"}],
        ).wait()
        assert box.tags == ["all", "one"]
        assert box.exec(["sh", "-c", "echo $X $Y; pwd; cat /etc/greeting"]).result().stdout == "1 2\n/tmp\nhello"
        assert box.annotations is not None
        assert (box.annotations["k"], box.annotations["l"]) == ("1", "2")
        assert box.resource_limits == {"cpu": "500m", "memory": "256Mi"}
        assert box.max_lifetime_seconds == 600
        assert [found.sandbox_id for found in session.list(tags=["one"]).result()] == [box.sandbox_id]
    assert defaults.merge_tags(["all"]) == ["all", "all"]
    assert SandboxDefaults.from_dict({"tags": ["x"], "unknown": 1, "temp_dir": None}).tags == ("x",)
    assert defaults.with_overrides(container_image="host").container_image == "host"
    with pytest.raises(AttributeError):
        defaults.tags = ()  # type: ignore[misc]


def test_resources_are_the_same_however_they_are_written() -> None:
    flat = ResourceOptions.of({"cpu": "1", "memory": "1Gi", "gpu": 2})
    assert flat == ResourceOptions.of(
        {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "1Gi"}, "gpu": {"count": 2}}
    )
    with pytest.raises(ValueError, match="the request of 2 cpu is larger than the limit of 1500m"):
        ResourceOptions(requests={"cpu": "2"}, limits={"cpu": "1500m"})
    with pytest.raises(ValueError, match="resources has no 'ram'; accepted: cpu, memory, gpu"):
        ResourceOptions.of({"cpu": "1", "ram": "1Gi"})
    with pytest.raises(ValueError, match="an amount such as"):
        ResourceOptions(limits={"memory": "lots"})
    with pytest.raises(TypeError, match=r"resources.limits\['cpu'\] is a string, not int"):
        ResourceOptions(limits={"cpu": 1})  # type: ignore[dict-item]


def test_a_session_ends_what_it_has_and_only_that(home: Home) -> None:
    with Sandbox.run(tags=["other"]) as other:
        session = Session(tags=["session"])
        first, second = session.sandbox(), session.sandbox()
        assert session.sandbox_count == 2
        first.wait()
        first.stop().result()
        assert session.sandbox_count == 1
        second.wait()
        found = home.create("found")
        adopted = session.from_id(found).result()
        assert session.sandbox_count == 2
        results([session.close() for _ in range(3)])
        assert (session.closed, session.sandbox_count) == (True, 0)
        assert {box.status for box in (first, second, adopted)} == {"completed"}
        assert other.get_status() == "running"
    for refused in (session.sandbox, lambda: session.adopt(other)):
        with pytest.raises(SandboxError, match="session is closed"):
            refused()
    with Session() as later, pytest.raises(ValueError, match="never started"):
        later.adopt(Sandbox())


def test_a_sandbox_that_is_gone_already_does_not_fail_its_session(home: Home) -> None:
    with Session() as session:
        box = session.sandbox().wait()
        home.ebb("stop", str(box.sandbox_id))


def test_waiting_for_some_of_many(home: Home) -> None:
    with Session() as session:
        box = session.sandbox()
        slow = box.exec(["sleep", "100"])
        quick = box.exec(["true"])
        failing = box.exec(["false"], check=True)
        done, pending = wait([slow, quick, failing, box], num_returns=1)
        assert len(done) == 1
        assert len(pending) == 3
        done, pending = wait([slow, quick, failing, box], num_returns=3, timeout=60)
        assert done == [quick, failing, box]
        assert pending == [slow]
        assert wait([slow], timeout=0.1) == ([], [slow])
        assert wait([]) == ([], [])
        with pytest.raises(ValueError, match="num_returns is 0"):
            wait([quick], num_returns=0)


def test_a_sandbox_that_is_lost_is_warned_of_and_ended_with_the_process(home: Home) -> None:
    with pytest.warns(ResourceWarning, match="was not stopped"):
        Sandbox.run(tags=["lost"]).wait()
        gc.collect()
    (name,) = home.running("lost")
    home.ebb("stop", name)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with Sandbox.run():
            pass
        Sandbox()
        gc.collect()


def test_a_detached_sandbox_outlives_its_handle(home: Home) -> None:
    box = Sandbox.run(detach=True, max_lifetime_seconds=60)
    name = str(box.sandbox_id)
    del box
    gc.collect()
    assert home.get(name)["owner_pid"] is None
    Sandbox.from_id(name).result().stop().result()
