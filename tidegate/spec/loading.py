"""Files to `Application`s: everything that is wrong with all of them in one error, each at its line and column."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidegate.errors import Problem, SpecError
from tidegate.spec import rules, sections
from tidegate.spec.models import Application, Stage
from tidegate.spec.places import Complaint, likely
from tidegate.spec.words import complaints
from tidegate.yaml_reader import Document, read, read_bytes

_SAYS_APPLICATION = re.compile(rb"^\s*[\"']?kind[\"']?\s*:\s*[\"']?Application\b", re.MULTILINE)
_SUFFIXES = (".yaml", ".yml")


def load(path: str | Path) -> tuple[Application, ...]:
    """The applications of a spec file, or of a fleet folder (`apps/*.yaml`, and `kind: Application` in `*.yaml`).

    In the order of their names. Raises one `SpecError` with every problem of every file (`.problems`), when there
    is no such path, and when there is no application in it.
    """
    root = Path(path)
    reading = _Reading()
    if root.is_dir():
        for file in _files(root.iterdir()):
            reading.read(file, str(file), only_applications=False)
        for file in _files((root / "apps").iterdir() if (root / "apps").is_dir() else ()):
            reading.read(file, str(file), only_applications=True)
    else:
        reading.read(root, str(root), only_applications=True)
    return reading.applications(str(root))


def load_files(files: Mapping[str, bytes], source: str) -> tuple[Application, ...]:
    """The same for a fleet folder that is not on disk; paths are relative to it, `source` names it in errors."""
    reading = _Reading()
    for path in sorted(files):
        folder, _, name = path.rpartition("/")
        if name.endswith(_SUFFIXES) and folder in ("", "apps"):
            reading.read(files[path], f"{source}/{path}", only_applications=folder == "apps")
    return reading.applications(source)


def _files(found: Iterable[Path]) -> list[Path]:
    return sorted(p for p in found if p.suffix in _SUFFIXES and p.is_file())


@dataclass(slots=True)
class _Reading:
    """Problems and applications while files are read."""

    problems: list[Problem] = field(default_factory=list)
    found: list[tuple[Document, Application]] = field(default_factory=list)
    names: dict[str, Document] = field(default_factory=dict)

    def read(self, file: Path | bytes, source: str, *, only_applications: bool) -> None:
        """Take in one file; files at the top of a fleet may hold other things than applications."""
        try:
            text = read_bytes(file) if isinstance(file, Path) else file
            checked = _checked(text, source, only_applications)
        except SpecError as error:
            if only_applications or isinstance(file, bytes) or _says_application(file):
                alone = Problem(source, 1, 1, str(error).removeprefix(f"{source}: "))
                self.problems += error.problems or [alone]
            return
        for document, application, found in checked:
            self._take(document, application, found)

    def _take(self, document: Document, app: Application | None, complaints: Iterable[Complaint]) -> None:
        name = document.data.get("name") if isinstance(document.data, dict) else None
        found = list(complaints)
        if isinstance(name, str):
            first = self.names.setdefault(name, document)
            if first is not document:
                place = f"{first.source}:{first.position(('name',))[0]}"
                what = f"a second application '{name}', the first is at {place}"
                found.append(Complaint(("name",), what, "give it a name of its own"))
        self.problems += [complaint.placed(document) for complaint in found]
        if app:
            self.found.append((document, app))

    def applications(self, source: str) -> tuple[Application, ...]:
        """All of them, sorted by name; raises what was found wrong."""
        self._share_no_folder()
        if self.problems:
            raise SpecError(problems=sorted(set(self.problems)))
        if not self.found:
            raise SpecError(f"{source}: no application here; write apps/<name>.yaml with 'kind: Application'")
        return tuple(sorted((app for _, app in self.found), key=lambda app: app.name))

    def _share_no_folder(self) -> None:
        """Two applications that write the same folder of the same branch would undo each other for ever."""
        seen: dict[tuple[str, str, str], str] = {}
        for document, app in self.found:
            for index, stage in enumerate(app.stages):
                key = (app.config.git, app.config.branch, stage.path)
                other = seen.setdefault(key, app.name)
                if other != app.name:
                    what = f"'{stage.path}' is also a folder of application '{other}'"
                    complaint = Complaint(
                        ("stages", index, "path"), what, "each stage has a folder of its own"
                    )
                    self.problems.append(complaint.placed(document))


@lru_cache(maxsize=10_000)
def _checked(
    text: bytes, source: str, only_applications: bool
) -> tuple[tuple[Document, Application | None, tuple[Complaint, ...]], ...]:
    """The applications of a file; the same text is checked once, because a fleet is read before every look."""
    documents = [d for d in read(text, source) if _is_application(d.data, only_applications)]
    return tuple((d, app, tuple(found)) for d in documents for app, found in [check(d.data)])


def check(data: Any) -> tuple[Application | None, list[Complaint]]:
    """An application out of data, and everything that is wrong with it; None with at least one complaint."""
    if not isinstance(data, dict):
        return None, [Complaint((), "an application is a map", "begin with 'kind: Application'")]
    found: list[Complaint] = []
    application = None
    try:
        application = Application.model_validate(data)
    except ValidationError as error:
        found += complaints(error, Application, data)
    found += _kind_first(data, found)
    found += sections.of_sections(data)
    stages = _valid_stages(data)
    found += rules.of_application(data, stages)
    for index, stage in stages.items():
        found += sections.of_queries(stage, index)
    return (None if found else application), list(dict.fromkeys(found))


def _kind_first(data: Mapping[str, Any], found: list[Complaint]) -> list[Complaint]:
    """Say what the file should be when its kind is wrong, once."""
    wrong = [c for c in found if c.path == ("kind",)]
    for complaint in wrong:
        found.remove(complaint)
    if not wrong:
        return []
    hint = likely(str(data.get("kind")), ["Application"], there="it is")
    return [Complaint(("kind",), f"no spec of kind {str(data.get('kind'))!r:.60}", hint)]


def _valid_stages(data: Mapping[str, Any]) -> dict[int, Stage]:
    """The stages as far as they are valid, so that one mistake does not hide the next."""
    stages = data.get("stages")
    valid: dict[int, Stage] = {}
    for index, raw in enumerate(stages if isinstance(stages, list) else ()):
        with suppress(ValidationError):
            valid[index] = _salvaged(raw, index)
    return valid


def _salvaged(raw: Any, index: int) -> Stage:
    """The stage without its wrong parts; a canary and its gate stay or go together."""
    try:
        return Stage.model_validate(raw)
    except ValidationError as error:
        if not isinstance(raw, dict):
            raise
        wrong = [details["loc"] for details in error.errors(include_url=False)]
    whole = {str(loc[0]) for loc in wrong if loc[0] != "after"}
    if whole & {"rollout", "gate"}:
        whole |= {"rollout", "gate"}
    kept = {key: value for key, value in raw.items() if key not in whole}
    if isinstance(raw.get("after"), dict):
        names = {loc[1] for loc in wrong if loc[0] == "after" and len(loc) > 1}
        kept["after"] = {name: {} if name in names else after for name, after in raw["after"].items()}
    required = {"name": f"stage-{index}", "path": f"stage-{index}", "target": {"kind": "kubernetes"}}
    return Stage.model_validate({**required, **kept})


def _is_application(data: Any, only_applications: bool) -> bool:
    if only_applications:
        return True
    kind = data.get("kind") if isinstance(data, dict) else None
    return isinstance(kind, str) and difflib.SequenceMatcher(None, kind, "Application").ratio() > 0.8


def _says_application(file: Path) -> bool:
    """Whether a broken file at the top of a fleet was meant for us; 1 MiB of it is enough to tell."""
    try:
        with file.open("rb") as stream:
            return _SAYS_APPLICATION.search(stream.read(2**20)) is not None
    except OSError:
        return False
