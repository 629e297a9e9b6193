"""Runs a script that was written for another package of the same API.

    python -m ebbtide.compat SCRIPT [ARGUMENT...]

`import cwsandbox` and `import aviato` are `import ebbtide` in it, whatever else is installed under these names. The
script is not changed, and nothing goes to another service.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import NoReturn

NAMES = ("cwsandbox", "aviato")


def install() -> None:
    """Makes the other names mean this package, in this process from now on.

    Examples:
        >>> import ebbtide.compat
        >>> ebbtide.compat.install()
        >>> from cwsandbox import Sandbox
    """
    for ours, module in list(sys.modules.items()):
        package, dot, rest = ours.partition(".")
        if package == "ebbtide":
            for name in NAMES:
                sys.modules[f"{name}{dot}{rest}"] = module


def main(arguments: list[str]) -> None:
    """Runs a script with its arguments as the main program."""
    if not arguments or arguments[0] in ("-h", "--help"):
        _usage(0 if arguments else 2)
    script = arguments[0]
    if not Path(script).exists():
        print(f"ebbtide.compat: there is no script {script!r}", file=sys.stderr)
        _usage(2)
    install()
    sys.argv = arguments
    # As if Python itself had been given the script.
    sys.path[0] = str(Path(script).resolve().parent)
    runpy.run_path(script, run_name="__main__")


def _usage(code: int) -> NoReturn:
    print("usage: python -m ebbtide.compat SCRIPT [ARGUMENT...]", file=sys.stderr if code else sys.stdout)
    raise SystemExit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
