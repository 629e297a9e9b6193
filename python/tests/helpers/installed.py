"""The package as others install it: from its wheel, into an environment with nothing else in it."""

import os
import subprocess
import sys
from pathlib import Path

from helpers.home import Home

SECONDS = 120

# The first and the last of Python's versions that are looked for; the first is the oldest that the package is for.
MINORS = range(9, 20)


def interpreters() -> dict[str, str]:
    """Every Python of this machine that the package is for and that can make environments, by its version."""
    places = [Path(sys.base_prefix, "bin"), *map(Path, os.get_exec_path())]
    places += sorted(Path.home().glob(".pyenv/versions/*/bin"))
    found: dict[str, str] = {}
    for minor in MINORS:
        name = f"python3.{minor}"
        # Not the wrappers that look for one of their own.
        programs = [place / name for place in places if place.name != "shims" and (place / name).exists()]
        able = next((program for program in programs if _makes_environments(program)), None)
        if able:
            found[name] = str(able)
    return found


def _makes_environments(program: Path) -> bool:
    command = [str(program), "-c", "import ensurepip, venv"]
    return subprocess.run(command, capture_output=True, timeout=SECONDS).returncode == 0


class Installed:
    """An environment with the wheel."""

    def __init__(self, directory: Path, interpreter: str) -> None:
        subprocess.run([interpreter, "-m", "venv", str(directory)], check=True, timeout=SECONDS)
        self.python = str(directory / "bin" / "python")
        self.ebb = str(directory / "bin" / "ebb")
        self.install()
        find = "import ebbtide, os; print(os.path.dirname(ebbtide.__file__))"
        self.package = Path(self._output("-c", find).strip())
        self.program = self.package / "bin" / "ebb"

    def install(self) -> None:
        """Installs the wheel, over the one that may be there."""
        self._output("-m", "pip", "install", "--no-index", "--force-reinstall", os.environ["EBBTIDE_TEST_WHEEL"])

    def uninstall(self) -> None:
        """Removes what the wheel has brought."""
        self._output("-m", "pip", "uninstall", "--yes", "ebbtide")
        assert not self.program.exists()

    def _output(self, *arguments: str) -> str:
        command = [self.python, *arguments]
        environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
        assert done.returncode == 0, f"{command} failed: {done.stderr}"
        return done.stdout


def daemons(home: Home) -> dict[int, str]:
    """The daemons of a home, and what the kernel says of the program of each."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            variables = (entry / "environ").read_bytes().split(b"\0")
            if b"serve" in words and f"EBBTIDE_HOME={home.path}".encode() in variables:
                found[int(entry.name)] = os.readlink(entry / "exe")
        except OSError:
            # No process, or none any more.
            continue
    return found
