"""Discovery: this daemon as the one runner that there is."""

import os
import platform

import cwsandbox
import pytest

from support.features import needs

pytestmark = needs("runners")


def test_the_daemon_is_the_one_runner_and_tells_what_it_has_and_what_of_it_is_free(daemon, box):
    (runner,) = cwsandbox.list_runners(include_resources=True)
    assert (runner.healthy, runner.organization_id) == (True, "default")
    assert runner.supported_architectures == ({"x86_64": "amd64"}.get(platform.machine()),)
    assert runner.max_cpu_millicores == 1000 * os.cpu_count()
    assert 0 < runner.resources.available_memory_bytes <= runner.max_memory_bytes
    assert runner.resources.running_sandboxes >= 1
    assert cwsandbox.list_runners()[0].resources is None


def test_a_runner_that_has_not_what_is_asked_for_is_not_listed(daemon):
    assert len(cwsandbox.list_runners(architecture="amd64", min_available_memory_bytes=1)) == 1
    assert cwsandbox.list_runners(architecture="arm64") == []
    assert cwsandbox.list_runners(gpu_type="H100") == []
    assert cwsandbox.list_runners(min_available_memory_bytes=1 << 60) == []


def test_a_runner_is_found_by_its_id_and_no_other(daemon):
    (listed,) = cwsandbox.list_runners()
    found = cwsandbox.get_runner(listed.runner_id, organization_id=listed.organization_id)
    assert (found.runner_id, found.connected_at) == (listed.runner_id, listed.connected_at)
    with pytest.raises(cwsandbox.RunnerNotFoundError) as refused:
        cwsandbox.get_runner("no-such-runner", organization_id="default")
    assert refused.value.reason == "CWSANDBOX_RUNNER_NOT_FOUND"
