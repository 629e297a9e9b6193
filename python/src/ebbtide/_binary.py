"""The program `ebb` that comes with the package: what the daemon is started with, and a command by itself."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import NoReturn, Optional

from ebbtide import _native

_PACKAGED = Path(__file__).parent / "bin" / "ebb"


def use() -> None:
    """Has daemons started with the package's program, unless `EBBTIDE_BIN` names another."""
    if _PACKAGED.exists():
        _native.set_executable(str(_PACKAGED))


def find() -> Optional[str]:
    """The program that daemons are started with: `EBBTIDE_BIN`, the package's, or the first in `PATH`."""
    named = os.environ.get("EBBTIDE_BIN")
    if named:
        return named
    if _PACKAGED.exists():
        return str(_PACKAGED)
    # Not the script that this module is behind, which would call itself.
    scripts = Path(sys.argv[0]).resolve().parent
    path = os.pathsep.join(entry for entry in os.get_exec_path() if entry and Path(entry).resolve() != scripts)
    return shutil.which("ebb", path=path)


def main() -> NoReturn:
    """The command `ebb`."""
    program = find()
    if program is None:
        sys.exit("ebb: this package was built without the program `ebb`; install a wheel, or set EBBTIDE_BIN")
    os.execv(program, ["ebb", *sys.argv[1:]])
