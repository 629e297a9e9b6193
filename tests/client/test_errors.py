"""What is refused: the class of the error, its reason, and what a program needs to act on it."""

import cwsandbox
import pytest
from cwsandbox import (
    CWSandboxAuthenticationError,
    Sandbox,
    SandboxError,
    SandboxFailedError,
    SandboxNotFoundError,
)

from support.features import has, needs
from support.rpc import Rpc, refused

LIMIT = 60


@pytest.fixture
def refusal_of_values() -> type:
    """The class for a value that is refused."""
    return cwsandbox.SandboxValidationError if has("validation errors") else SandboxError


def test_without_the_right_key_nothing_is_answered(daemon, monkeypatch):
    for key in ("wrong", ""):
        monkeypatch.setenv("CWSANDBOX_API_KEY", key)
        with pytest.raises(CWSandboxAuthenticationError):
            Sandbox.list().result(timeout=LIMIT)
        with pytest.raises(CWSandboxAuthenticationError):
            Sandbox.run()
    monkeypatch.delenv("CWSANDBOX_API_KEY")
    with pytest.raises(CWSandboxAuthenticationError):
        Sandbox.list().result(timeout=LIMIT)


def test_an_unknown_sandbox_has_its_own_class_and_reason(daemon):
    for call in (Sandbox.from_id, Sandbox.delete):
        with pytest.raises(SandboxNotFoundError) as caught:
            call("01jd0000000000000000000000").result(timeout=LIMIT)
        assert caught.value.reason == "CWSANDBOX_SANDBOX_NOT_FOUND"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"max_lifetime_seconds": 2_000_000_000}, "max_lifetime_seconds"),
        ({"tags": ["x"] * 1000}, "tags"),
        ({"environment_variables": {"A=B": "x"}}, "env"),
        ({"runner_ids": ["elsewhere"]}, "runner_ids"),
    ],
)
def test_a_value_that_is_refused_is_named(daemon, options, field, refusal_of_values):
    with pytest.raises(refusal_of_values) as caught:
        Sandbox.run(**options)
    assert caught.value.reason == "CWSANDBOX_INVALID_REQUEST"
    assert field in str(caught.value)


@needs("validation errors")
def test_a_value_that_is_refused_is_a_violation_of_its_field(daemon):
    with pytest.raises(cwsandbox.SandboxValidationError) as caught:
        Sandbox.run(max_lifetime_seconds=2_000_000_000)
    (violation,) = caught.value.field_violations
    assert violation.field.endswith("max_lifetime_seconds")
    assert violation.description


def test_an_image_that_is_not_there_is_named(daemon):
    words = "no-such-image" if has("the cause in the message") else "failed"
    with pytest.raises(SandboxFailedError, match=words):
        Sandbox.run(container_image="no-such-image:latest").wait(timeout=LIMIT)


def test_the_same_request_with_other_content_is_a_conflict(rpc: Rpc):
    first = rpc.create("sleep 1000", request_id="one")
    assert rpc.create("sleep 1000", request_id="one").sandbox_id == first.sandbox_id
    with refused() as refusal:
        rpc.create("sleep 2000", request_id="one")
    assert refusal.info.reason == "CWSANDBOX_REQUEST_ID_CONFLICT"
    rpc.delete(first.sandbox_id)
