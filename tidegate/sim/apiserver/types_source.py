"""Where `types.json` comes from: the model sources of the `kubernetes` package, read as text.

    python -m tidegate.sim.apiserver.types_source

The result names, for every type reachable from a kind we serve, its fields with their types: `str int float bool`,
`object` (anything), a type name, `[T]` for a list, `{T}` for a map; a trailing `!` marks a required field.
"""

from __future__ import annotations

import ast
import json
import re
from importlib.util import find_spec
from pathlib import Path

from tidegate.sim.apiserver.resources import BUILT_IN, REVIEWS

TYPES = Path(__file__).with_name("types.json")
_SCALARS = {"datetime": "str", "bytes": "str", "date": "str", "file": "str"}


def models_folder() -> Path:
    """The installed package's models, without importing them (that costs 30 MiB)."""
    spec = find_spec("kubernetes")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(
            "kubernetes: the package is not installed; its models are the source of types.json"
        )
    return Path(spec.origin).parent / "client" / "models"


def read_types(folder: Path) -> dict[str, dict[str, str]]:
    """type → field → type notation, closed over everything the served kinds refer to."""
    files = {re.sub(r"_", "", path.stem): path for path in folder.glob("*.py")}
    found: dict[str, dict[str, str]] = {}
    waiting = sorted({r.model for r in (*BUILT_IN, *REVIEWS)})
    while waiting:
        name = waiting.pop()
        path = files.get(name.lower())
        if name in found or path is None:
            continue
        found[name] = _fields(path)
        waiting += [m for text in found[name].values() for m in re.findall(r"[A-Z]\w+", text)]
    return dict(sorted(found.items()))


def _fields(path: Path) -> dict[str, str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    body = next(n for n in tree.body if isinstance(n, ast.ClassDef)).body
    notes = {n.target.id: n for n in body if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)}
    types = ast.literal_eval(notes["openapi_types"].value or ast.Dict([], []))
    names = ast.literal_eval(notes["attribute_map"].value or ast.Dict([], []))
    return {
        wire: _notation(types[attribute]) + ("!" if _required(notes, attribute) else "")
        for attribute, wire in sorted(names.items(), key=lambda item: item[1])
    }


def _required(notes: dict[str, ast.AnnAssign], attribute: str) -> bool:
    note = notes.get(attribute) or notes.get(f"var_{attribute}") or notes.get(f"{attribute}_")
    return note is not None and "Optional" not in ast.unparse(note.annotation)


def _notation(text: str) -> str:
    if match := re.fullmatch(r"[Ll]ist\[(.+)\]", text):
        return f"[{_notation(match[1])}]"
    if match := re.fullmatch(r"[Dd]ict\[str, (.+)\]", text):
        return f"{{{_notation(match[1])}}}"
    return _SCALARS.get(text, text)


def render() -> str:
    lines = (
        f"{json.dumps(n)}:{json.dumps(f, separators=(',', ':'))}"
        for n, f in read_types(models_folder()).items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    TYPES.write_text(render(), encoding="utf-8")
