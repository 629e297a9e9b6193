"""What a function needs to run elsewhere: its source, and everything that it reads from around it."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
import sysconfig
import textwrap
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, Callable, Optional, Union

from ebbtide.exceptions import AsyncFunctionError, FunctionError

_Definition = Union[ast.FunctionDef, ast.ClassDef]
_GLOBAL = ("LOAD_GLOBAL", "LOAD_NAME")


class Captured:
    """A function, ready to travel.

    Attributes:
        name: Its name.
        source: Its source without the decorator that sends it away.
        file: Where that is from, for tracebacks.
        imports: What is imported for it: the name, the module, and the attribute of that if there is one.
        sources: Functions and classes that it uses: the name and the source of each, in an order that works.
        values: Everything else that it reads: values by name.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        check(function)
        self.name = function.__name__
        self.file = f"<{function.__module__}.{function.__qualname__}>"
        self.imports: list[tuple[str, str, str]] = []
        self.sources: list[tuple[str, str]] = []
        self.values: dict[str, Any] = {}
        self._seen: set[str] = {self.name}
        tree = _definition(function)
        tree.decorator_list = [decorator for decorator in tree.decorator_list if not _sends_away(decorator)]
        self.source = ast.unparse(tree)
        self._read(function, tree)

    def _read(self, value: Any, tree: ast.AST) -> None:
        """Takes along what a function or a class reads, when it is defined and when it runs."""
        for name, found in _surroundings(value, tree).items():
            if name not in self._seen:
                self._seen.add(name)
                self._take(name, found)

    def _take(self, name: str, value: Any) -> None:
        if isinstance(value, ModuleType):
            self.imports.append((name, value.__name__, ""))
            return
        origin = _imported_from(value)
        if origin is not None:
            self.imports.append((name, *origin))
        elif isinstance(value, (FunctionType, type)):
            tree = _definition(value)
            # What it needs itself comes first.
            self._read(value, tree)
            source = ast.unparse(tree)
            if value.__name__ != name:
                source += f"\n{name} = {value.__name__}\n"
            self.sources.append((name, source))
        else:
            self.values[name] = value


def check(function: object) -> None:
    """Refuses what cannot be sent, at the place where it is decorated."""
    if not isinstance(function, FunctionType):
        raise FunctionError(f"{function!r} is no function that is written in Python; wrap it in one")
    if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
        raise AsyncFunctionError(
            f"{function.__qualname__} is asynchronous, and a sandbox runs plain functions; "
            "make it a plain one, which may call asyncio.run()"
        )
    if inspect.isgeneratorfunction(function):
        raise FunctionError(f"{function.__qualname__} is a generator, which cannot be sent back; return a list")
    if function.__name__ == "<lambda>":
        raise FunctionError("a lambda has no source of its own; write it as a function with a name")


def _definition(value: Any) -> _Definition:
    """The source of a function or class, as a tree."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(value)))
    except (OSError, TypeError, SyntaxError) as error:
        raise FunctionError(
            f"the source of {value.__qualname__} cannot be read ({error}); put it into a file"
        ) from None
    definition = tree.body[0]
    if not isinstance(definition, (ast.FunctionDef, ast.ClassDef)):
        raise FunctionError(f"the source of {value.__qualname__} is no definition; write it with `def` or `class`")
    return definition


def _sends_away(decorator: ast.expr) -> bool:
    """Whether it is `@session.function`, with or without arguments."""
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Attribute) and called.attr == "function"


def _surroundings(value: Any, tree: ast.AST) -> dict[str, Any]:
    """Everything that a function or a class reads from around it, by name."""
    functions = [value] if isinstance(value, FunctionType) else _methods(value)
    around = vars(sys.modules[value.__module__]) if isinstance(value, type) else value.__globals__
    found: dict[str, Any] = {}
    names = _read_when_defined(tree)
    for function in functions:
        names += _globals(function.__code__)
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ()):
            # A class that uses itself, or a variable that has no value yet.
            if name != "__class__" and _filled(cell):
                found[name] = cell.cell_contents
    # What is around a function more closely wins.
    return {**{name: around[name] for name in names if name in around}, **found}


def _read_when_defined(tree: ast.AST) -> list[str]:
    """The names that are read when it is defined: in decorators, defaults, bases and the body of a class.

    Not in annotations, which are not looked at where it is sent.
    """
    names = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Name):
            names.append(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            waiting += getattr(node, "decorator_list", [])
            waiting += [default for default in (*node.args.defaults, *node.args.kw_defaults) if default is not None]
        elif isinstance(node, ast.AnnAssign):
            waiting += [] if node.value is None else [node.value]
        else:
            waiting += ast.iter_child_nodes(node)
    return names


def _methods(kind: type) -> list[FunctionType]:
    members = [getattr(member, "__func__", member) for member in vars(kind).values()]
    members += [member.fget for member in vars(kind).values() if isinstance(member, property)]
    file = inspect.getsourcefile(kind)
    # Without those that a decorator has made.
    return [member for member in members if isinstance(member, FunctionType) and member.__code__.co_filename == file]


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


def _globals(code: CodeType) -> list[str]:
    """The names that it and the functions in it look up outside of themselves."""
    names = [entry.argval for entry in dis.get_instructions(code) if entry.opname in _GLOBAL]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names += _globals(constant)
    return names


def _imported_from(value: Any) -> Optional[tuple[str, str]]:
    """Module and name by which it can be imported anywhere that has what is installed here."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or not name.isidentifier():
        return None
    loaded = sys.modules.get(module)
    if module == "__main__" or loaded is None or getattr(loaded, name, None) is not value:
        return None
    return (module, name) if _is_installed(loaded) else None


def _is_installed(module: ModuleType) -> bool:
    """Whether it is of Python itself or was installed, rather than a part of the program."""
    file = getattr(module, "__file__", None)
    if file is None:
        return True
    paths = sysconfig.get_paths()
    places = {Path(paths[key]).resolve() for key in ("stdlib", "platstdlib", "purelib", "platlib")}
    return bool(places & set(Path(file).resolve().parents))
