"""Every block of the guides runs, word for word, and leaves nothing behind.

Each runs in a process of its own, once as it is by `ebbtide.compat` and once with the module's name changed to
`ebbtide` and nothing else.
"""

import ast
from pathlib import Path

import pytest
from helpers.home import Home
from helpers.script import Ended, Scripts

GUIDES = Path(__file__).parent / "guides"

# What the blocks of a guide take for granted, which is what the blocks before them have imported or defined.
PRELUDES = {
    "cleanup": "import cwsandbox\nfrom cwsandbox import Sandbox, SandboxDefaults, results\n",
    "cleanup_former": "import aviato\nfrom aviato import Sandbox, SandboxDefaults, get\n",
    "sessions": (
        "import cwsandbox\n"
        "from cwsandbox import Sandbox, SandboxDefaults\n"
        'defaults = SandboxDefaults(container_image="python:3.11", tags=("project-alpha",))\n'
    ),
}

# A block that shows alternatives which exclude each other, or fails on purpose, by the exception that it ends with. All
# others end well.
RAISES = {
    # A sandbox that was stopped is stopped again with a snapshot.
    "cleanup/03_stop": "ebbtide.exceptions.SnapshotOnStopConflictError",
    "cleanup_former/03_stop": "ebbtide.exceptions.SnapshotOnStopConflictError",
    # The id is made up.
    "cleanup/09_delete": "ebbtide.exceptions.SandboxNotFoundError",
    "cleanup_former/09_delete": "ebbtide.exceptions.SandboxNotFoundError",
    "sessions/07_error_handling": "RuntimeError",
}

# Blocks that look for sandboxes of earlier runs, by the tag that they look for; they end what they find.
LOOKS_FOR = {
    "cleanup/07_orphans": "my-project",
    "cleanup/08_adoption": "my-project",
    "cleanup_former/07_orphans": "my-project",
    "cleanup_former/08_adoption": "my-project",
    "sessions/08_adopt": "orphaned-work",
}

PRINTS = {"sessions/09_properties": "0\n1\n"}

# Blocks that run a program of the image which the machine's own programs may lack.
NEEDS_PYTHON = {"sessions/05_pool"}

BLOCKS = sorted(f"{path.parent.name}/{path.stem}" for path in GUIDES.glob("*/*.py"))


def text(block: str) -> str:
    prelude = PRELUDES[block.split("/")[0]]
    return prelude + (GUIDES / f"{block}.py").read_text()


def renamed(block: str) -> str:
    module = "aviato" if "former" in block else "cwsandbox"
    return text(block).replace(module, "ebbtide")


def check(block: str, ended: Ended) -> None:
    expected = RAISES.get(block)
    assert ended.code == (1 if expected else 0), ended
    if expected:
        assert ended.stderr.strip().splitlines()[-1].startswith(f"{expected}:"), ended
    else:
        assert ended.stderr == "", ended
    assert ended.stdout == PRINTS.get(block, ""), ended


@pytest.fixture
def orphans(request: pytest.FixtureRequest, home: Home) -> None:
    block: str = request.getfixturevalue("block")
    if block in NEEDS_PYTHON and not home.has_python():
        pytest.skip("python:3.11 stands for this machine's programs, and `python` is not one of them")
    if tag := LOOKS_FOR.get(block):
        for _ in range(2):
            # The session of the guide about sessions has this tag for its own.
            home.create(tag, "left over")


def test_there_are_all_blocks() -> None:
    assert len(BLOCKS) == 9 + 9 + 10
    for block in BLOCKS:
        ast.parse(text(block))


@pytest.mark.usefixtures("orphans")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs_word_for_word(block: str, home: Home, scripts: Scripts) -> None:
    check(block, scripts.run_as_module("ebbtide.compat", text(block)))
    # Also what was left by others: the block has ended it.
    assert home.running() == []


@pytest.mark.usefixtures("orphans")
@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_runs_with_only_the_modules_name_changed(block: str, home: Home, scripts: Scripts) -> None:
    check(block, scripts.run(renamed(block)))
    assert home.running() == []
