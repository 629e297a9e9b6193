"""Builds the package: the program `ebb` first, then everything else, which is maturin's work.

`ebb` becomes data of the package, since nothing of Python's packaging knows of a program beside a module.
`EBBTIDE_BUILD_PROFILE` names another profile of cargo's than `release`.

Whoever has let cargo build both already, another way (the release wheel's) or with everything else (the tests'), names
the directory by `EBBTIDE_BUILD_FROM`: what is there is packed, and nothing is compiled. The packages `maturin` and
`wheel` must be there then, and pip be told `--no-build-isolation`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Optional

import maturin  # type: ignore[import-untyped, import-not-found, unused-ignore]

_PYTHON = Path(__file__).resolve().parent.parent
_WORKSPACE = _PYTHON.parent
_PACKAGE = _PYTHON / "src" / "ebbtide"
_PLACE = _PACKAGE / "bin" / "ebb"

Settings = Optional[dict[str, Any]]


def _profile() -> str:
    return os.environ.get("EBBTIDE_BUILD_PROFILE") or "release"


def _build_ebb() -> Path:
    """Builds the program and says where it is."""
    command = ["cargo", "build", "--locked", "--bin=ebb", f"--profile={_profile()}", "--message-format=json"]
    output = subprocess.run(command, cwd=_WORKSPACE, check=True, stdout=subprocess.PIPE, text=True).stdout
    return _executable(output)


def _executable(messages: str) -> Path:
    """Where cargo says that it has put the program: that depends on its configuration."""
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


def _pack(built: Path, directory: str, settings: Settings) -> str:
    """Makes a wheel of what cargo has built; the sources' own places for it are not touched."""
    with tempfile.TemporaryDirectory() as temporary:
        draft, out = Path(temporary, "draft"), Path(temporary, "out")
        draft.mkdir()
        maturin.prepare_metadata_for_build_wheel(str(draft), settings)
        package = draft / _PACKAGE.name
        built_earlier = shutil.ignore_patterns("__pycache__", "*.so", _PLACE.parent.name)
        shutil.copytree(_PACKAGE, package, ignore=built_earlier)
        shutil.copyfile(built / "lib_native.so", package / "_native.abi3.so")
        program = package / _PLACE.relative_to(_PACKAGE)
        program.parent.mkdir()
        shutil.copyfile(built / program.name, program)
        program.chmod(0o755)
        out.mkdir()
        subprocess.run([sys.executable, "-m", "wheel", "pack", f"--dest-dir={out}", str(draft)], check=True)
        (wheel,) = out.iterdir()
        shutil.copy(wheel, directory)
        return wheel.name


def _maturin(settings: Settings) -> dict[str, Any]:
    """The settings for maturin, which has words of its own for what to build how."""
    given = dict(settings or {})
    given.setdefault("build-args", f"--profile={_profile()} --locked")
    return given


def build_wheel(directory: str, config_settings: Settings = None, metadata_directory: Optional[str] = None) -> str:
    """Builds a wheel into a directory and returns its name."""
    built = os.environ.get("EBBTIDE_BUILD_FROM")
    if built:
        return _pack(Path(built), directory, config_settings)
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
