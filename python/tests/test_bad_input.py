"""What is wrong with an argument is said where it is given, with its name, and before anything is made."""

import pickle
from datetime import timedelta
from typing import Any, Callable

import pytest
from helpers.home import Home

import ebbtide
from ebbtide import EbbtideError, Sandbox, SandboxDefaults, SandboxFileError, Session

TYPES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Sandbox(imge="x"), r"Sandbox\(\) has no argument 'imge'"),
    (lambda: Sandbox(container_imag="x"), "did you mean 'container_image'"),
    (lambda: Sandbox.run(tag=["x"]), r"Sandbox.run\(\) has no argument 'tag'; did you mean 'tags'"),
    (lambda: Sandbox(network={}), "'network': Ebbtide does not have it yet"),
    (lambda: Sandbox(auth="key"), "EBBTIDE_API_KEY"),
    (lambda: Sandbox(tags="my-project"), "tags is several strings"),
    (lambda: Sandbox(tags=[1]), r"tags\[0\] is a string, not int"),
    (lambda: Sandbox(container_image=3), "container_image is a string or None, not int"),
    (lambda: Sandbox(environment_variables={"A": 1}), r"environment_variables\['A'\] is a string, not int"),
    (lambda: Sandbox(environment_variables=["A=1"]), "environment_variables is a dictionary"),
    (lambda: Sandbox(max_lifetime_seconds="60"), "max_lifetime_seconds is a number or None, not str"),
    (lambda: Sandbox(resources="1"), "resources is ResourceOptions or a dictionary"),
    (lambda: Sandbox(defaults="x"), "defaults is SandboxDefaults or a dictionary"),
    (lambda: Sandbox(mounted_files=[{"path": "/x"}]), r"mounted_files\[0\] has no argument 'path'"),
    (lambda: Sandbox(mounted_files=[{"mount_path": "/x"}]), r"mounted_files\[0\] has no 'file_content'"),
    (lambda: Sandbox(detach=1), "detach is True or False, not int"),
    (lambda: Sandbox(keep=True), "keep is a string or None, not bool"),
    (lambda: Sandbox.run(1), r"the main command\[0\] is a string, not int"),
    (lambda: Sandbox.run("ls", command="ls"), "main command twice"),
    (lambda: Sandbox().exec("ls -l"), r'command is several strings, not str; e.g. \["sh", "-c", \'ls -l\'\]'),
    (lambda: Sandbox().exec(["ls", 1]), r"command\[1\] is a string, not int"),
    (lambda: Sandbox().exec(["ls"], chek=True), r"Sandbox.exec\(\) has no argument 'chek'; did you mean 'check'"),
    (lambda: Sandbox().exec(["ls"], check=1), "check is True or False"),
    (lambda: Sandbox().exec(["ls"], container="x"), "a sandbox has one container"),
    (lambda: Sandbox().stop(grace=1), r"Sandbox.stop\(\) has no argument 'grace'"),
    (lambda: Sandbox().write_file("/x", "text"), r"contents is bytes, not str; encode it"),
    (lambda: Sandbox().read_file(b"/x"), "filepath is a string, not bytes"),
    (lambda: Sandbox().stream_logs(since_time=3), "since_time is a datetime, not int"),
    (lambda: Sandbox.list(tags="x"), "tags is several strings"),
    (lambda: Sandbox.list(include_stopped=True), r"Sandbox.list\(\) has no argument 'include_stopped'"),
    (lambda: Sandbox.from_id(7), "sandbox_id is a string, not int"),
    (lambda: Sandbox.delete("x", missing=True), "did you mean 'missing_ok'"),
    (lambda: Session("python:3.11"), "defaults is SandboxDefaults or a dictionary, not str"),
    (
        lambda: Session(container_img="x"),
        r"Session\(\) has no argument 'container_img'; did you mean 'container_image'",
    ),
    (lambda: Session().sandbox(tgas=[]), r"session.sandbox\(\) has no argument 'tgas'; did you mean 'tags'"),
    (lambda: Session().sandbox(defaults=SandboxDefaults()), "the session's hold"),
    (lambda: Session().adopt("x"), "sandbox is a Sandbox, not str"),
    (lambda: SandboxDefaults(tag=("x",)), "SandboxDefaults has no argument 'tag'; did you mean 'tags'"),
    (lambda: SandboxDefaults(tags="x"), "tags is several strings"),
    (lambda: SandboxDefaults().with_overrides(image="x"), "has no argument 'image'"),
    (lambda: ebbtide.results([1]), r"results\(\) waits for operations, not for int"),
    (lambda: ebbtide.wait(["x"]), r"wait\(\) waits for operations and sandboxes, not for str"),
]
VALUES: list[tuple[Callable[[], Any], str]] = [
    (lambda: Sandbox(max_lifetime_seconds=0.5), "max_lifetime_seconds is 0.5 s; accepted: 1 to"),
    (lambda: Sandbox(request_timeout_seconds=-1), "request_timeout_seconds is -1 s; accepted: more than 0 to"),
    (lambda: Sandbox(request_timeout_seconds=float("nan")), "request_timeout_seconds is not a number"),
    (lambda: Sandbox().exec([]), "command is empty"),
    (lambda: Sandbox().exec(["ls"], cwd="x"), "cwd is 'x'; accepted: an absolute path"),
    (lambda: Sandbox().exec(["ls"], timeout_seconds=0), "timeout_seconds is 0 s"),
    (lambda: Sandbox().stop(graceful_shutdown_seconds=-1), "graceful_shutdown_seconds is -1 s; accepted: 0 to"),
    (lambda: Sandbox().shell(width=0), "width is 0; accepted: 1 to 65535"),
    (lambda: Sandbox.list(status="asleep"), "'asleep' is no status of a sandbox; accepted: pending"),
    (lambda: Sandbox(resources={"cpu": "-1"}), "an amount such as"),
    (lambda: Sandbox(resources={"gpu": 0}), r"resources.gpu\['count'\] is 0"),
]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("case", range(len(TYPES)))
def test_a_wrong_type_or_name_is_a_type_error(case: int) -> None:
    wrong, said = TYPES[case]
    with pytest.raises(TypeError, match=said):
        wrong()


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("case", range(len(VALUES)))
def test_a_value_out_of_range_is_a_value_error(case: int) -> None:
    wrong, said = VALUES[case]
    with pytest.raises(ValueError, match=said):
        wrong()


def test_what_the_daemon_refuses_says_which_field(home: Home) -> None:
    with pytest.raises(ebbtide.SandboxValidationError) as raised:
        Sandbox.run(tags=["x" * 5000])
    assert raised.value.field_violations
    assert "tags" in raised.value.field_violations[0].field
    assert raised.value.request_id


def test_errors_travel_between_processes_with_all_that_they_hold() -> None:
    error = SandboxFileError(
        "no", reason="R", metadata={"k": "v"}, retry_delay=timedelta(seconds=1), code="NotFound", filepath="/x"
    )
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is SandboxFileError
    assert again.args == ("no",)
    assert vars(again) == vars(error)
    with pytest.raises(TypeError, match="has no attribute 'sandbox'"):
        EbbtideError("x", sandbox=1)


def test_the_names_of_the_guides_are_the_same_classes() -> None:
    assert ebbtide.CWSandboxError is ebbtide.AviatoError is EbbtideError
    assert ebbtide.get is ebbtide.results
    assert issubclass(ebbtide.SandboxValidationError, ebbtide.CWSandboxValidationError)
    for name in ebbtide.__all__:
        assert getattr(ebbtide, name) is not None
