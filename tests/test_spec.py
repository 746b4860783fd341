"""What users write: read whole, and every mistake named at once with its place and what helps."""

from __future__ import annotations

import json
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tidegate import spec
from tidegate.adapters.fleet import load_fleet
from tidegate.adapters.git import Mirror
from tidegate.domain.health import Health, HealthStatus
from tidegate.errors import NotFound, SpecError
from tidegate.settings import Settings
from tidegate.spec.reference import reference
from tidegate.yaml_reader import read

ROOT = Path(__file__).resolve().parent.parent

SHOP = """\
kind: Application
name: shop
source: {git: "https://git.example/shop.git", paths: ["services/shop/**"]}
integrate:
  audit: [ruff, bandit, secrets]
  test: {run: [pytest, -q], timeout: 15m}
  build: {kind: archive, image: registry.example/shop, entrypoint: [python, -m, shop]}
config: {git: "https://git.example/fleet.git", render: kustomize}
stages:
  - name: staging
    path: shop/staging
    target: {kind: kubernetes, context: staging, namespace: shop}
    verify:
      - {kind: http, url: "http://shop.shop.svc/healthz"}
  - name: production
    path: shop/production
    target: {kind: kubernetes, context: prod, namespace: shop}
    after: {staging: {soak: 30m}}
    approval: {need: 1, from: [sre]}
    windows: [{allow: "Mon-Thu 08:00-16:00", zone: Europe/Berlin}]
    rollout: {kind: canary, weights: [5, 25, 50], every: 10m, traffic: {kind: replicas}}
    gate:
      metrics: {kind: prometheus, url: "http://prometheus.monitoring.svc:9090"}
      checks:
        - kind: ratio
          name: errors
          bad: http_requests_total{app="shop",code=~"5.."}
          total: http_requests_total{app="shop"}
        - {kind: threshold, name: heap, query: "max(process_heap_bytes)", max: 1e9}
    on_failure: rollback
"""


def write(folder: Path, text: str, name: str = "apps/shop.yaml") -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def said(folder: Path) -> list[str]:
    """The complaints about a fleet, without the folder's name."""
    with pytest.raises(SpecError) as caught:
        spec.load(folder)
    lines = str(caught.value).splitlines()
    assert lines == [str(p) for p in caught.value.problems]
    return [line.removeprefix(f"{folder}/") for line in lines]


def with_change(folder: Path, *changes: tuple[str, str]) -> list[str]:
    """What is said of the shop with some of its text replaced."""
    text = SHOP
    for old, new in changes:
        assert text.count(old) >= 1, old
        text = text.replace(old, new, 1)
    write(folder, text)
    return said(folder)


def test_a_spec_says_what_it_says(tmp_path: Path) -> None:
    (app,) = spec.load(write(tmp_path, SHOP))
    assert (app.name, app.source.branch, app.config.render.kind) == ("shop", "main", "kustomize")
    assert [a.kind for a in app.integrate.audit] == ["ruff", "bandit", "secrets"]
    production = app.stage("production")
    assert production.after["staging"].soak == timedelta(minutes=30)
    assert production.rollout is not None
    assert production.rollout.weights == (5, 25, 50)
    assert production.gate is not None
    assert [type(c) for c in production.gate.checks] == [spec.Ratio, spec.Threshold]
    assert spec.load(tmp_path) == (app,)


def test_a_fleet_folder_gives_all_its_applications_by_name_and_leaves_other_kinds_alone(
    tmp_path: Path,
) -> None:
    write(tmp_path, SHOP)
    two = SHOP.replace("name: shop\n", "name: till\n").replace("path: shop/", "path: till/")
    write(tmp_path, two, "till.yaml")
    write(tmp_path, "- {name: an automation}\n", "automations.yaml")
    write(tmp_path, "a: {{ template }}: b\n", "chart.yaml")
    write(tmp_path, "kind: Kustomization\n", "kustomization.yml")
    assert [a.name for a in spec.load(tmp_path)] == ["shop", "till"]


def test_a_folder_without_applications_is_an_error_that_says_where_they_go(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"no application here; write apps/<name>.yaml with 'kind: Application'"
    ):
        spec.load(tmp_path)
    with pytest.raises(SpecError, match="cannot be read: no such file or directory"):
        spec.load(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("name: shop\n", "name: Shop\n", ":2:7: 'name' cannot be 'Shop'; use lower-case letters, digits and '-'"),
        ("paths:", "path:", ":3:47: unknown key 'path'; did you mean 'paths'?"),
        ('["services/shop/**"]', "services/**", ":3:54: 'paths' is a list, not 'services/**'; write [services"),
        ("bandit", "bandi", ":5:17: no auditor of kind 'bandi'; there is bandit, ruff, secrets; did you mean"),
        ("secrets]", "{kind: bandit, severity: hihg}]", ":5:50: 'severity' cannot be 'hihg'; did you mean 'high'?"),
        ("timeout: 15m", "timeout: 15", ":6:38: 'timeout' cannot be 15; a duration is a number with a unit"),
        ("run: [pytest, -q]", "runs: [pytest]", ":6:10: unknown key 'runs'; did you mean 'run'?"),
        ("run: [pytest, -q], ", "", ":6:3: 'run' is missing; add 'run: …'"),
        (", entrypoint: [python, -m, shop]", "", ":7:10: 'entrypoint' is missing"),
        ("  build:", "  biuld:", ":7:3: unknown key 'biuld'; did you mean 'build'?"),
        ("  build:", "  biuld:", ":4:1: 'build' is missing"),
        ("kustomize", "kustomise", ":8:56: no renderer of kind 'kustomise'; there is helm, kustomize, plain; did you"),
        ("git.example/fleet.git", "bob:pw@git.example/f.git", ":8:15: a password in the address of a repository"),
        ("https://git.example/fleet.git", "ext::sh -c x", ":8:15: 'git' is not an address"),
        ("path: shop/staging", "path: /shop", ":11:11: '/shop' is not a folder of the repository"),
        ("path: shop/staging", "path: shop/../x", ":11:11: 'shop/../x' leads out of its folder"),
        ("path: shop/staging", "path: ./shop//x/", ":11:11: './shop//x/' is not a plain path; write 'shop/x'"),
        ("path: shop/staging", "path: shop/production", ":16:11: 'shop/production' is also the folder of stage"),
        ("kind: kubernetes, context: staging", "kind: nomad", ":12:20: no target of kind 'nomad'; there is kub"),
        ("context: staging", "contxt: staging", ":12:32: unknown key 'contxt'; did you mean 'context'?"),
        ("context: staging", "context: 5", ":12:41: 'context' is text, not 5; put it in quotes"),
        ("name: staging", "name: production", ":15:11: a second stage 'production'; give it a name of its own"),
        ("after: {staging:", "after: {stagin:", ":18:13: no stage 'stagin' to come after; did you mean 'staging'?"),
        ("after: {staging:", "after: {qa:", ":18:13: no stage 'qa' to come after; the stages are staging"),
        ("after: {staging:", "after: {production:", ":18:13: stage 'production' comes after itself"),
        ("    verify:", "    after: {production: {}}\n    verify:", ":13:13: stage 'production' is listed later than"),
        ("need: 1", "need: 0", ":19:22: 'need' must be at least 1, not 0"),
        ("Mon-Thu 08", "Mo-Thu 08", ":20:23: 'allow' cannot be understood; a window looks like 'Mon-Thu 08:00"),
        ("Europe/Berlin", "Europe/Berln", ":20:52: no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"),
        ('allow: "Mon-Thu 08:00-16:00", ', "", ":20:15: a window has either 'allow' or 'deny'"),
        ("5, 25, 50", "5, 50, 25", ":21:46: weight 25 after 50; weights rise with every step"),
        ("5, 25, 50", "5, 25, 100", ":21:46: item 3 of 'weights' must be less than 100, not 100"),
        ("5, 25, 50", "", ":21:38: 'weights' is empty; write them like [5, 25, 50]"),
        ("{kind: replicas}", "istio", ":21:72: no traffic of kind 'istio'; there is replicas"),
        ("    gate:", "    gates:", ":22:5: unknown key 'gates'; did you mean 'gate'?"),
        ("http://prom", "prom", ":23:40: 'url' cannot be 'prometheus.monitoring.svc:9090'; it begins with http"),
        ("      checks:", "      every: 10s\n      checks:", ":24:14: a check every 10s is shorter than four scr"),
        ("      checks:", "      max_duration: 5m\n      checks:", ":24:21: max_duration 5m ends before min_bake 10m"),
        ("kind: ratio", "kind: latency", ":25:11: no check of kind 'latency'; there is ratio, threshold"),
        ('code=~"5.."}', 'code=~"5.."', ":27:16: 'bad' of check 'errors':"),
        ("name: heap", "name: errors", ":29:35: a second check 'errors'; give it a name of its own"),
        (", max: 1e9", "", ":29:11: threshold 'heap' has no bound; add 'max:' or 'min:'"),
        ("max: 1e9", "max: 1, min: 2", ":29:88: min 2 is above max 1: nothing passes; swap them"),
        ("on_failure: rollback", "on_failure: roll", ":30:17: 'on_failure' cannot be 'roll'; did you mean 'rollback'?"),
    ],
)  # fmt: skip
def test_a_mistake_is_named_with_its_place_and_what_helps(
    tmp_path: Path, old: str, new: str, sentence: str
) -> None:
    lines = with_change(tmp_path, (old, new))
    assert any(line.startswith(f"apps/shop.yaml{sentence}") for line in lines), lines


def test_a_canary_needs_a_gate_and_a_gate_a_canary(tmp_path: Path) -> None:
    head, gate = SHOP.split("    gate:\n")
    write(tmp_path, head)
    assert said(tmp_path) == [
        "apps/shop.yaml:21:5: a canary without a gate to judge it; "
        "add 'gate:' with metrics and checks, or remove 'rollout'"
    ]
    write(tmp_path, head[: head.index("    rollout:")] + "    gate:\n" + gate)
    assert said(tmp_path) == [
        "apps/shop.yaml:21:5: a gate without a canary to judge; add 'rollout:' with weights, or remove 'gate'"
    ]


def test_all_mistakes_of_all_files_are_named_at_once(tmp_path: Path) -> None:
    changes = [("name: shop\n", "name: Shop\n"), ("after: {staging:", "after: {stagin:")]
    changes += [("5, 25, 50", "5, 5"), ("max: 1e9", "mx: 1"), ("path: shop/staging", "path: /")]
    write(tmp_path, SHOP.replace("name: shop", "name: shop\nname: shop"), "apps/twice.yaml")
    write(tmp_path, "kind: Aplication\n", "near.yaml")
    lines = with_change(tmp_path, *changes)
    places = [line.split(": ")[0] for line in lines]
    assert places == sorted(places, key=lambda p: (p.split(":")[0], *map(int, p.split(":")[1:])))
    assert {p.split(":")[0] for p in places} == {"apps/shop.yaml", "apps/twice.yaml", "near.yaml"}
    assert sum(p.startswith("apps/shop.yaml") for p in places) >= 4
    assert any("no spec of kind 'Aplication'; did you mean 'Application'?" in line for line in lines)


def test_two_applications_have_two_names_and_two_folders(tmp_path: Path) -> None:
    write(tmp_path, SHOP)
    write(tmp_path, SHOP, "apps/shop2.yaml")
    lines = said(tmp_path)
    assert (
        f"apps/shop2.yaml:2:7: a second application 'shop', the first is at {tmp_path}/apps/shop.yaml:2"
        in lines[0]
    )
    write(tmp_path, SHOP.replace("name: shop\n", "name: till\n"), "apps/shop2.yaml")
    assert "'shop/staging' is also a folder of application 'shop'" in said(tmp_path)[0]


def test_the_design_s_example_names_the_kinds_that_are_not_here(tmp_path: Path) -> None:
    latency = '        - {kind: latency, name: latency, buckets: "x_bucket"}\n'
    budget = "        - {kind: slo, name: budget, objective: 99.9}\n"
    text = SHOP.replace("bandit,", "bandit, pip-audit,").replace(
        "    on_failure", f"{latency}{budget}    on_failure"
    )
    write(tmp_path, text)
    assert said(tmp_path) == [
        "apps/shop.yaml:5:25: no auditor of kind 'pip-audit'; there is bandit, ruff, secrets",
        "apps/shop.yaml:30:11: no check of kind 'latency'; there is ratio, threshold",
        "apps/shop.yaml:31:11: no check of kind 'slo'; there is ratio, threshold",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kind: Application\n",
        "[]\n",
        "5\n",
        "a: [\n",
        "kind: Application\nstages: 5\nname: [x]\nintegrate: {}\n",
        "kind: Application\nstages: [{}, [], null, {after: 3, gate: {checks: [{kind: 5}, 7]}, windows: [x]}]\n",
        "kind: Application\nstages: [{rollout: {weights: 5, traffic: 6}, target: [], verify: {}}]\nsource: 3\n",
        "kind: Application\nstages: [{name: {}, path: 5, after: [x], gate: 1, rollout: t, target: {kind: 5}}]\n",
    ],
)
def test_nonsense_is_refused_in_sentences(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as caught:
        spec.load(path)
    for line in str(caught.value).splitlines():
        assert len(line.removeprefix(str(tmp_path))) < 200
        assert "pydantic" not in line


# --- schema --------------------------------------------------------------------------------------------------------


def test_the_committed_schema_is_current() -> None:
    committed = json.loads((ROOT / "deployments" / "schema.json").read_text())
    assert committed == spec.schema(), "run `tidegate schema > deployments/schema.json`"


def test_the_committed_reference_is_current() -> None:
    committed = (ROOT / "docs" / "spec.md").read_text()
    assert committed == reference() + "\n", "run `python -m tidegate.spec.reference > docs/spec.md`"


def test_the_schema_accepts_a_spec_and_refuses_its_typos() -> None:
    schema = spec.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    def data(text: str) -> Any:
        return read(text.encode(), "x")[0].data

    assert list(validator.iter_errors(data(SHOP))) == []
    for old, new in [
        ("paths:", "path:"),
        ("kind: kubernetes", "kind: nomad"),
        ("contex", "contx"),
        ("15m", "15"),
    ]:
        assert list(validator.iter_errors(data(SHOP.replace(old, new, 1)))), (old, new)


# --- fleet ---------------------------------------------------------------------------------------------------------


def git(*arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example"]
    subprocess.run(["git", *identity, *arguments], check=True, capture_output=True, timeout=30)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with a fleet in its folder `deploy`."""
    work = tmp_path / "work"
    git("init", "-q", "-b", "main", str(work))
    write(work / "deploy", SHOP)
    git("-C", str(work), "add", ".")
    git("-C", str(work), "commit", "-q", "-m", "x")
    return work


def settings(tmp_path: Path, fleet: str) -> Settings:
    return Settings(home=tmp_path / "home", fleet=fleet, git_protocols="file")


def test_a_fleet_is_read_from_a_folder_of_a_git_branch(tmp_path: Path, repository: Path) -> None:
    fleet = load_fleet(settings(tmp_path, f"file://{repository}//deploy@main"))
    assert [a.name for a in fleet.applications] == ["shop"]
    assert fleet.application("shop").name == "shop"
    assert load_fleet(settings(tmp_path, f"file://{repository}//deploy")).applications == fleet.applications


def test_a_fleet_is_read_from_a_commit(tmp_path: Path, repository: Path) -> None:
    mirror = Mirror(f"file://{repository}", settings(tmp_path, ""))
    commit = mirror.fetch("main")["main"]
    assert load_fleet(settings(tmp_path, f"file://{repository}//deploy@{commit}")).application("shop")


def test_health_scripts_are_read_with_the_fleet(tmp_path: Path, repository: Path) -> None:
    folder = repository / "deploy" / "health" / "_.db.example" / "Database"
    folder.mkdir(parents=True)
    (folder / "health.lua").write_text("return nil")
    (folder / "health_test.yaml").write_text("not read with the fleet: [")
    git("-C", str(repository), "add", ".")
    git("-C", str(repository), "commit", "-qm", "y")
    database = {"apiVersion": "eu.db.example/v1", "kind": "Database"}
    fleet = load_fleet(settings(tmp_path, f"file://{repository}//deploy@main"))
    found = fleet.health.of(database)
    assert found and found.text == "return nil"
    assert found.source == f"{fleet.source}/health/_.db.example/Database/health.lua"
    on_disk = load_fleet(settings(tmp_path, str(repository / "deploy"))).health.of(database)
    assert on_disk and on_disk.source == str(folder / "health.lua")


def test_the_fleets_scripts_reach_the_stage(tmp_path: Path) -> None:
    from tidegate.operations.desk import open_desk

    write(tmp_path, SHOP)
    (tmp_path / "health" / "Pod").mkdir(parents=True)
    (tmp_path / "health" / "Pod" / "health.lua").write_text("return {status='Suspended', message='asleep'}")
    how = Settings(home=tmp_path / "home", fleet=str(tmp_path), git_protocols="https")
    fleet = load_fleet(how)
    spec = fleet.application("shop")
    desk = open_desk(spec, spec.stages[0].name, how, fleet.health)
    assert desk.custom and desk.custom({"apiVersion": "v1", "kind": "Pod"}) == Health(
        HealthStatus.Suspended, "asleep"
    )


def test_mistakes_in_a_fleet_in_git_name_repository_and_file(tmp_path: Path, repository: Path) -> None:
    write(repository / "deploy", SHOP.replace("paths:", "path:"))
    git("-C", str(repository), "commit", "-qam", "y")
    with pytest.raises(SpecError, match=r"//deploy@[0-9a-f]{7}/apps/shop.yaml:3:47: unknown key 'path'"):
        load_fleet(settings(tmp_path, f"file://{repository}//deploy@main"))


def test_a_branch_that_is_not_there_is_said_so(tmp_path: Path, repository: Path) -> None:
    with pytest.raises(NotFound, match="no branch 'mian'"):
        load_fleet(settings(tmp_path, f"file://{repository}//deploy@mian"))


def test_an_application_that_is_not_there_gets_the_likely_name(tmp_path: Path) -> None:
    write(tmp_path, SHOP)
    fleet = load_fleet(settings(tmp_path, str(tmp_path)))
    with pytest.raises(SpecError, match="no application 'shp'; did you mean 'shop'"):
        fleet.application("shp")
    with pytest.raises(SpecError, match="no application 'zebra'; there is shop"):
        fleet.application("zebra")
