"""What the documents show runs as it is written there."""

import re
from pathlib import Path

import pytest
from helpers.home import Home
from helpers.script import Scripts

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("README.md", "docs/python.md", "python/README.md")
BLOCKS = [
    (f"{document} {number}", block)
    for document in DOCUMENTS
    for number, block in enumerate(re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), re.DOTALL), 1)
]


@pytest.mark.parametrize(("where", "block"), BLOCKS, ids=[where for where, _ in BLOCKS])
def test_an_example_runs(where: str, block: str, home: Home, scripts: Scripts) -> None:
    # What an example takes over from the one before it.
    ended = scripts.check("from ebbtide import *\n" + block)
    assert ended.stderr == "", ended
    assert home.running() == []
