"""Health scripts as files: a fleet's `health/` folder, and the cases that people keep beside their scripts.

The layout is that of Argo CD's `resource_customizations`: `<group>/<Kind>/health.lua`, `health_test.yaml`,
`testdata/**`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tidegate.adapters.lua import LUA, Lua
from tidegate.domain.health import HealthStatus
from tidegate.domain.health.scripts import FILE, Script, Scripts
from tidegate.errors import Problem, SpecError
from tidegate.yaml_reader import Document, read, read_bytes

FOLDER = "health"
TESTS = "health_test.yaml"
_LARGEST = 256 * 1024


def from_folder(folder: Path) -> Scripts:
    """The scripts below a folder; none when it is not there. `SpecError` for one that cannot be read."""
    found = sorted([*folder.glob(f"*/{FILE}"), *folder.glob(f"*/*/{FILE}")])
    return _scripts({p.relative_to(folder).as_posix(): p.read_bytes() for p in found}, str(folder))


def from_files(files: Mapping[str, bytes], source: str) -> Scripts:
    """The same of files by their path; others than scripts are passed over."""
    mine = {p: text for p, text in files.items() if p.endswith(f"/{FILE}") and p.count("/") <= 2}
    return _scripts(mine, source)


def _scripts(files: Mapping[str, bytes], source: str) -> Scripts:
    found = {}
    for path, content in sorted(files.items()):
        name = f"{source}/{path}"
        if len(content) > _LARGEST:
            raise SpecError(f"{name}: {len(content):,} bytes, a health script has at most {_LARGEST:,}")
        try:
            found[path.removesuffix(f"/{FILE}")] = Script(name, content.decode())
        except UnicodeDecodeError as error:
            line = content[: error.start].count(b"\n") + 1
            raise SpecError(f"{name}:{line}: is not UTF-8; save it as such") from error
    return Scripts(found)


@dataclass(frozen=True, slots=True)
class Case:
    """One object and what its script must say of it."""

    name: str
    """`<group>/<Kind>/testdata/x.yaml`."""
    obj: dict[str, Any]
    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A case that was run; without differences it passed."""

    case: Case
    differences: tuple[str, ...]


def cases(folder: Path) -> list[Case]:
    """All cases of a folder, in the order of their files; one `SpecError` with all that is wrong in them."""
    if not folder.is_dir():
        raise SpecError(f"{folder}: no such folder; give one laid out <group>/<Kind>/{TESTS}")
    files = sorted([*folder.glob(f"*/{TESTS}"), *folder.glob(f"*/*/{TESTS}")])
    found: list[Case] = []
    problems: list[Problem] = []
    for file in files:
        try:
            found += _cases(file, folder)
        except SpecError as error:
            subject, _, what = str(error).partition(": ")
            problems += error.problems or [Problem(subject, 1, 1, what)]
    if problems:
        raise SpecError(problems=problems)
    if not found:
        raise SpecError(f"{folder}: no cases here; they are listed in <group>/<Kind>/{TESTS}")
    return found


def run(folder: Path, found: list[Case], lua: Lua = LUA) -> Iterator[Outcome]:
    """Each case by the script that speaks for its object, whatever folder the case lies in."""
    scripts = from_folder(folder)
    for case in found:
        yield Outcome(case, tuple(_differences(case, scripts, lua)))


def _differences(case: Case, scripts: Scripts, lua: Lua) -> Iterator[str]:
    script = scripts.of(case.obj)
    if script is None:
        yield f"no script for {case.obj.get('apiVersion')} {case.obj.get('kind')}"
        return
    said = lua.run(script, case.obj)
    if said.error:
        yield said.error
        return
    if said.status != case.status:
        yield f"status is {said.status or 'empty'}, should be {case.status or 'empty'}"
    if said.message != case.message:
        yield f"message is {said.message!r}, should be {case.message!r}"


# --- reading the cases --------------------------------------------------------------------------------------


def _cases(file: Path, root: Path) -> Iterator[Case]:
    document = _first(file)
    listed = _field(document.data, "tests")
    if not isinstance(listed, list) or not all(isinstance(item, dict) for item in listed):
        raise _problem(document, (), "no list of tests", "write 'tests:' with a list of cases")
    for index, item in enumerate(listed):
        yield _case(file, root, document, index, item)


def _case(file: Path, root: Path, document: Document, index: int, item: dict[str, Any]) -> Case:
    path, expected = _field(item, "inputPath"), _field(item, "healthStatus") or {}
    where = ("tests", index)
    if not isinstance(path, str) or not path:
        raise _problem(document, where, "a case without inputPath", "name the object's file")
    if not isinstance(expected, dict):
        raise _problem(document, where, "healthStatus is not a map", "write status and message below it")
    status, message = (str(_field(expected, key) or "") for key in ("status", "message"))
    if status and status not in HealthStatus.__members__:
        known = ", ".join(HealthStatus)
        raise _problem(document, where, f"there is no status '{status}'", f"there is {known}")
    source = file.parent / path
    if not source.resolve().is_relative_to(root.resolve()):
        raise _problem(document, where, f"{path} leads out of {root}", "keep the object beside its case")
    if not source.is_file():
        raise _problem(document, where, f"{path} is not there", "give the path from this file")
    obj = _first(source, last_wins=True).data  # so Argo CD reads its objects, and some rely on it
    if not isinstance(obj, dict):
        raise SpecError(f"{source}: holds no object")
    return Case(source.relative_to(root).as_posix(), obj, status, message)


def _field(data: Any, name: str) -> Any:
    """A field as Go's JSON finds it: the exact name, else the same letters in another case."""
    if not isinstance(data, dict):
        return None
    if name in data:
        return data[name]
    return next((v for k, v in data.items() if str(k).lower() == name.lower()), None)


def _first(file: Path, *, last_wins: bool = False) -> Document:
    documents = read(read_bytes(file), str(file), last_wins=last_wins)
    if not documents:
        raise SpecError(f"{file}: is empty")
    return documents[0]


def _problem(document: Document, path: tuple[str | int, ...], what: str, hint: str) -> SpecError:
    line, column = document.position(path)
    return SpecError(problems=[Problem(document.source, line, column, what, hint)])
