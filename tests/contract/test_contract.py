"""One contract, two servers: each answers every case as Kubernetes did when the answers were recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.contract import answers
from tests.contract.cases import Case, Step, load
from tests.contract.talk import Server, run

CASES = load()


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_kubernetes_answers(
    case: Case,
    server: Server,
    unique: Callable[[], str],
    kept: dict[str, dict[str, Any]],
    request: pytest.FixtureRequest,
) -> None:
    own = unique()
    made = server.ask(Step("POST /api/v1/namespaces", body={"metadata": {"name": f"ns-{own}"}}), "")
    assert made[0] == 201
    told = run(server, case, own)
    if server.name == "real" and request.config.getoption("--record", default=False):
        kept.setdefault(case.topic, {})[case.name] = told
        return
    assert told == answers.read(case.topic)[case.name]


def test_no_answer_is_kept_for_a_case_that_is_gone() -> None:
    topics = {case.topic for case in CASES}
    kept = {(path.stem, name) for path in answers.FOLDER.glob("*.yaml") for name in answers.read(path.stem)}
    assert kept == {(case.topic, case.name) for case in CASES}
    assert {topic for topic, _ in kept} == topics


def test_every_case_has_a_sentence_of_its_own() -> None:
    assert len({case.id for case in CASES}) == len(CASES)
