"""Runs in the sandbox: makes one call of a function that was sent there, and leaves what came of it.

This file is sent as it is and knows nothing of the package. It is for whatever Python 3 the image has.
"""

import __future__

import base64
import importlib
import json
import pickle
import sys
import traceback
from typing import Any, Dict


def load(carried: Any, kind: str) -> Any:
    """From what travels to a value."""
    return pickle.loads(base64.b64decode(carried)) if kind == "pickle" else carried


def store(value: object, kind: str) -> Any:
    """From a value to what travels."""
    if kind == "pickle":
        return base64.b64encode(pickle.dumps(value, protocol=4)).decode("ascii")
    return json.loads(json.dumps(value))


def describe(error: Exception) -> Dict[str, Any]:
    """Everything that the other side makes an exception of."""
    try:
        args = json.loads(json.dumps(list(error.args)))
    except (TypeError, ValueError):
        args = [str(error)]
    said = traceback.format_exception(type(error), error, error.__traceback__)
    return {
        "module": type(error).__module__,
        "type": type(error).__qualname__,
        "message": str(error),
        "args": args,
        # Without the lines of this file, which are at its beginning.
        "traceback": "".join(line for line in said if 'File "<string>"' not in line),
    }


def define(source: str, file: str, names: Dict[str, Any]) -> None:
    """Defines a function or a class. Annotations are not looked at: what is in them may be unknown here."""
    exec(compile(source, file, "exec", __future__.annotations.compiler_flag), names)


def call(payload: Dict[str, Any]) -> Any:
    """Makes the call."""
    kind = payload["serialization"]
    names = sys.modules["__main__"].__dict__
    for name, module, attribute in payload["imports"]:
        found = importlib.import_module(module)
        names[name] = getattr(found, attribute) if attribute else found
    for name, source in payload["sources"]:
        define(source, "<" + name + ">", names)
    for name, value in load(payload["values"], kind).items():
        names[name] = value
    define(payload["source"], payload["file"], names)
    args, kwargs = load(payload["arguments"], kind)
    return names[payload["name"]](*args, **kwargs)


def main(payload_path: str, answer_path: str) -> None:
    """Reads what to call, and writes what came of it."""
    with open(payload_path) as file:
        payload = json.load(file)
    try:
        value = call(payload)
        try:
            answer: Dict[str, Any] = {"value": store(value, payload["serialization"])}
        except Exception as error:
            answer = {"unsendable": type(value).__name__, "why": str(error)}
    except Exception as error:
        answer = {"error": describe(error)}
    with open(answer_path, "w") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main(*sys.argv[1:3])
