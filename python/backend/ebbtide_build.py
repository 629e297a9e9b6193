"""Builds the package: the program `ebb` first, then everything else, which is maturin's work.

`ebb` becomes data of the package, since nothing of Python's packaging knows of a program beside a module. Whoever has
built both already, for a release wheel for example, says where `ebb` is by `EBBTIDE_BUILD_EBB`;
`EBBTIDE_BUILD_PROFILE` names another profile of cargo's than `release`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any, Optional

import maturin  # type: ignore[import-untyped, import-not-found, unused-ignore]

_PYTHON = Path(__file__).resolve().parent.parent
_WORKSPACE = _PYTHON.parent
_PLACE = _PYTHON / "src" / "ebbtide" / "bin" / "ebb"

Settings = Optional[dict[str, Any]]


def _profile() -> str:
    return os.environ.get("EBBTIDE_BUILD_PROFILE") or "release"


def _build_ebb() -> Path:
    """Builds the program and says where it is."""
    built = os.environ.get("EBBTIDE_BUILD_EBB")
    if built:
        return Path(built)
    command = ["cargo", "build", "--locked", "--bin=ebb", f"--profile={_profile()}", "--message-format=json"]
    output = subprocess.run(command, cwd=_WORKSPACE, check=True, stdout=subprocess.PIPE, text=True).stdout
    return _executable(output)


def _executable(messages: str) -> Path:
    """Where cargo says that it has put the program: that depends on its configuration."""
    import json

    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("reason") == "compiler-artifact" and message.get("executable"):
            executable = Path(message["executable"])
            if executable.name == "ebb":
                return executable
    raise RuntimeError("cargo built no `ebb`; build it with `cargo build --bin ebb` to see why")


def _place_ebb() -> None:
    _PLACE.parent.mkdir(exist_ok=True)
    # Replaced, not written over: a daemon may run the old one.
    draft = _PLACE.with_suffix(".new")
    shutil.copyfile(_build_ebb(), draft)
    draft.chmod(0o755)
    draft.replace(_PLACE)


def _maturin(settings: Settings) -> dict[str, Any]:
    """The settings for maturin, which has words of its own for what to build how."""
    given = dict(settings or {})
    given.setdefault("build-args", f"--profile={_profile()} --locked")
    return given


def build_wheel(directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None) -> str:
    """Builds a wheel into a directory and returns its name."""
    _place_ebb()
    name: str = maturin.build_wheel(directory, _maturin(config_settings), metadata_directory)
    return name


def build_editable(directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None) -> str:
    """Builds a wheel that refers to the sources, and returns its name."""
    _place_ebb()
    name: str = maturin.build_editable(directory, _maturin(config_settings), metadata_directory)
    return name


def build_sdist(directory: str, config_settings: Settings = None) -> str:
    """There is none: the sources of the package are those of the repository."""
    raise RuntimeError("ebbtide has no source distribution; build a wheel from the repository: pip wheel ./python")


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    """What is needed beside maturin: nothing."""
    return []


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    """What is needed beside maturin: nothing."""
    return []
