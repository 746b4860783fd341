"""The contract through kubectl: what a person types, and what it says and exits with, on either server.

Ages, times, uids, addresses, generated names and the width of columns do not count: they are chance.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from tests.contract import answers
from tests.contract.cases import HERE, filled, merged, objects

TRANSCRIPTS = HERE / "transcripts.yaml"
SECONDS = 180.0
PATIENCE = 30.0
_DATE = re.compile(r"\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")
_FILE_TIME = re.compile(r"\t\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}")
_FOLDER = re.compile(r"/\S*/(LIVE|MERGED)-\d+")
_HUNK = re.compile(r"^@@ .* @@$", re.MULTILINE)
_TOOK = re.compile(r"( in )\d[\w.]*s\b")
_CONTAINER = re.compile(r"(tidegate://)\w+")
_OWN_LOG = re.compile(r"^[IWE]\d{4} \d\d:.*\n?", re.MULTILINE)
"""kubectl's own log."""
_AGE = re.compile(r"(?<=[\s(])(\d+[dhms]){1,2}(?=[\s)]|$)", re.MULTILINE)
_IP = re.compile(r"\b\d+\.\d+\.\d+\.\d+(:\d{4,5})?\b")
_CHILD = re.compile(r"\b(web|work|made)-[a-z0-9]{8,10}(-[a-z0-9]{5})?\b|\b(web|work|made)-[a-z0-9]{5}\b")
_HASH = re.compile(r"(pod-template-hash[=:])\w+")
_BLANKS = re.compile(r"(?<=\S)[ \t]{2,}")
_TRAILING = re.compile(r"[ \t]+$", re.MULTILINE)
_SERVER = re.compile(r"https?://127\.0\.0\.1:\d+")


@dataclass(frozen=True, slots=True)
class Commands:
    """A sentence, and the commands that show it."""

    name: str
    steps: tuple[Mapping[str, Any], ...]
    cluster: bool
    """Needs controllers and a node."""


def load() -> list[Commands]:
    """Every case of `commands.yaml`, in order."""
    document = yaml.safe_load((HERE / "commands.yaml").read_text())
    found = []
    for entry in document:
        for values in entry.get("each") or [{}]:
            name, steps = filled((entry["case"], entry["steps"]), values)
            found.append(Commands(name, tuple(steps), entry.get("cluster", False)))
    return found


def read() -> dict[str, Any]:
    """The transcripts by the case's sentence."""
    return yaml.safe_load(TRANSCRIPTS.read_text()) if TRANSCRIPTS.exists() else {}


def write(found: Mapping[str, Any]) -> None:
    """Keep what kubectl said to the real control plane."""
    known = {**read(), **found}
    kept = {case.name: known[case.name] for case in load() if case.name in known}
    text = yaml.dump(kept, Dumper=_Blocks, sort_keys=False, width=118, allow_unicode=True)
    TRANSCRIPTS.write_text(text)


class _Blocks(yaml.SafeDumper):
    """Text of several lines as such."""


def _text(dumper: _Blocks, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text)


@dataclass(frozen=True, slots=True)
class Kubectl:
    """The program on PATH, against one server."""

    kubeconfig: Path
    home: Path
    """Where it keeps what it knows of the server."""

    def run(
        self, case: Commands, unique: str, expected: Sequence[Any] = (), **values: str
    ) -> list[dict[str, Any]]:
        """What each command said and exited with, as far as it counts.

        One that describes is asked again until it says what is `expected`: events arrive when they arrive.
        """
        namespace = f"ns-{unique}"
        known = {"NS": namespace, "ID": unique, **values}
        names = answers.Names({namespace: "$NS", unique: "$ID", **{v: f"${k}" for k, v in values.items()}})
        self._run(["create", "namespace", namespace], "")
        told = []
        for raw, wanted in zip_longest(case.steps, expected):
            step = filled(raw, known)
            words = ["--namespace", namespace, *shlex.split(step["run"])]
            words += [step["argument"]] if "argument" in step else []
            given = [filled(_object(entry), known) for entry in step.get("input") or ()]
            end = time.monotonic() + (PATIENCE if wanted and step["run"].startswith("describe") else 0.0)
            shown = self._shown(words, given, names, step)
            while shown != wanted and time.monotonic() < end:
                shown = self._shown(words, given, names, step)
            told.append(shown)
        return told

    def _shown(
        self, words: list[str], given: list[Any], names: answers.Names, step: Mapping[str, Any]
    ) -> dict[str, Any]:
        done = self._run(words, yaml.safe_dump_all(given))
        return _shown(done, names, last=step.get("last", False))

    def _run(self, words: list[str], text: str) -> subprocess.CompletedProcess[str]:
        env = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfig)}
        argv = ["kubectl", *words]
        return subprocess.run(
            argv, input=text, capture_output=True, text=True, timeout=SECONDS, env=env, check=False
        )


def _object(entry: Any) -> Any:
    known = objects()
    if isinstance(entry, str):
        return known[entry]
    rest = {key: value for key, value in entry.items() if key != "like"}
    return merged(known[entry["like"]], rest) if "like" in entry else entry


def _shown(done: subprocess.CompletedProcess[str], names: answers.Names, *, last: bool) -> dict[str, Any]:
    said, complained = (stable(text, names) for text in (done.stdout, done.stderr))
    said = said.rpartition("\n")[2] if last else said
    return {
        "code": done.returncode,
        **({"out": said} if said else {}),
        **({"err": complained} if complained else {}),
    }


def stable(text: str, names: answers.Names) -> str:
    """The text without chance."""
    for pattern, name in (
        (_DATE, "<time>"),
        (_FILE_TIME, "\t<time>"),
        (_FOLDER, r"/\1"),
        (_HUNK, "<lines>"),
        (_TOOK, r"\1<age>"),
        (_CONTAINER, r"\1<id>"),
        (_OWN_LOG, ""),
        (_SERVER, "<server>"),
        (_HASH, r"\1<hash>"),
        (_AGE, "<age>"),
    ):
        text = pattern.sub(name, text)
    text = _CHILD.sub(lambda found: names.numbered(found[1] or found[3], found[0]), names.of(text))
    text = _IP.sub(lambda found: names.numbered("ip", found[0]), text)
    return _events_in_order(_BLANKS.sub("  ", _TRAILING.sub("", text)).strip("\n"))


_OF_THE_START = re.compile(r"\b(FailedScheduling|Unhealthy|TaintManagerEviction)\b")


def _events_in_order(text: str) -> str:
    """Those of one second come in any order; what a start of node and program takes is chance."""
    head, mark, events = text.rpartition("  ----  ------  ----  ----  -------\n")
    told = sorted(line for line in events.splitlines() if not _OF_THE_START.search(line))
    return f"{head}{mark}" + "\n".join(told) if mark else text
