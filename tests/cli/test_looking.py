"""The commands that look: what a person reads, what a machine reads, and that nothing is changed or leaked."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from tests.cli.conftest import Shop
from tidegate.domain.gate import Sample, evaluate
from tidegate.domain.gate.evidence import to_data
from tidegate.domain.records import Kind, Record
from tidegate.spec import Gate


def refs(shop: Shop) -> str:
    told = subprocess.run(
        ["git", "ls-remote", shop.git.url("config")],
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout


def test_looking_tells_the_story_and_changes_nothing(shop: Shop) -> None:
    before = refs(shop)
    staging, production = shop("status", "-o", "json").json
    assert (staging["live"], staging["state"]) == ("2222222-" + staging["live"][8:], "live")
    assert production["live"].startswith("1111111-")
    assert production["state"] == "waits"
    assert "waits for" in production["next"]
    text = shop("status", "shop").out
    assert text.splitlines()[0].split() == ["APP", "STAGE", "LIVE", "SINCE", "STATE", "WHAT", "COMES", "NEXT"]
    assert [line.split()[1] for line in text.splitlines()[1:]] == ["staging", "production"]
    kinds = [(r["stage"], r["kind"]) for r in shop("history", "shop", "-o", "json").json]
    assert ("production", "approval") in kinds
    assert kinds.count(("staging", "sync")) == 2
    lines = shop("history", "shop", "production", "-n", "1", "--kind", "approval").out.splitlines()
    assert len(lines) == 2
    assert "ada" in lines[1]
    assert "first one" in lines[1]
    assert shop("plan", "shop").out.count("nothing to do") >= 1
    assert refs(shop) == before


def test_a_plan_shows_what_would_change_and_says_so_by_its_exit_code(shop: Shop, tmp_path: Path) -> None:
    assert shop("plan", "shop", "production", "--exit-code").code == 0
    env = shop.fleet(tmp_path / "fleet", ("path: shop/production", "path: shop/changed"))
    text = shop("plan", "shop", "production", "--exit-code", code=1, env=env).out
    assert "2 to update" in text
    assert "+  schedule: '0 4 * * *'" in text
    (found,) = (machine := shop("plan", "shop", "production", "-o", "json", env=env)).json
    assert (found["stage"], found["writes"]) == ("production", 2)
    assert "herring" not in text + machine.out


def test_render_prints_manifests_that_kubectl_could_read_with_secrets_masked(shop: Shop) -> None:
    text = shop("render", "shop", "production").out
    assert "kind: CronJob" in text
    assert "registry.example/shop@sha256:" in text
    assert "swordfish" not in text
    manifests = shop("render", "shop", "production", "-o", "json").json
    assert sorted(m["kind"] for m in manifests) == ["CronJob", "Secret"]
    start = shop("render", "shop", "production", "--at", "zzzz", code=2).err
    assert "no commit 'zzzz' in the history" in start


def test_verify_ledger_judges_again_and_says_which_record_does_not_follow(shop: Shop, tmp_path: Path) -> None:
    assert shop("verify-ledger").out == "0 verdicts on record\n"
    gate = Gate.model_validate(
        {
            "metrics": {"kind": "prometheus", "url": "http://127.0.0.1:1"},
            "checks": [{"kind": "ratio", "name": "errors", "bad": "b", "total": "t"}],
        }
    )
    samples = [Sample(at=60.0 * i, canary=(40, 100), control=(1, 100)) for i in range(1, 20)]
    verdict = evaluate(gate, {"errors": samples}, started=0, now=60.0 * 19)
    assert verdict.outcome == "Failed"
    env = shop.fleet(tmp_path / "fleet", ("name: shop\n", "name: till\n"))
    record = Record(
        kind=Kind.Verdict,
        app="till",
        stage="production",
        release="1111111-aaaaaa",
        at=datetime.now(UTC),
        message=verdict.message,
        data=to_data(verdict),
    )
    ledger = shop.desk("production").ledger
    ledger.append(record)
    assert "1 verdict: all follow from their samples" in shop("verify-ledger", "till", env=env).out
    ledger.append(replace(record, at=datetime.now(UTC), data={**record.data, "outcome": "Successful"}))
    assert "2 verdicts: 1 do not follow from their samples" in shop("verify-ledger", code=1, env=env).out
    told = shop("verify-ledger", "-o", "json", code=1, env=env).json
    assert [r["agrees"] for r in told] == [True, False]


def test_an_application_whose_repository_is_away_does_not_hide_the_others(shop: Shop, tmp_path: Path) -> None:
    gone = (shop.git.url("config"), shop.git.url("gone"))
    env = shop.fleet(tmp_path, ("name: shop\n", "name: till\n"), gone)
    (tmp_path / "shop.yaml").write_text((shop.root / "fleet" / "apps" / "shop.yaml").read_text())
    rows = shop("status", "-o", "json", code=3, env=env).json
    assert [r["state"] for r in rows] == ["live", "waits", "unknown"]
    assert "/gone" in rows[2]["next"]


def test_doctor_asks_everything_and_names_what_is_wrong(shop: Shop, tmp_path: Path) -> None:
    findings = {f["what"]: f for f in shop("doctor", "-o", "json", env={"PREFECT_API_URL": ""}).json}
    assert findings["git"]["state"] == "ok"
    assert findings["prefect"]["state"] == "absent"
    assert " main is at " in findings["shop config"]["message"]
    assert findings["shop production target"]["message"] == "kubernetes answers, nobody works here"
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text((shop.root / "kubeconfig").read_text().replace("127.0.0.1:", "127.0.0.1:1/"))
    changes = [(shop.git.url(name), shop.git.url("gone")) for name in ("config", "shop")]
    env = shop.fleet(tmp_path / "fleet", *changes, (str(shop.root / "kubeconfig"), str(kubeconfig)))
    said = shop("doctor", code=1, env={**env, "PREFECT_API_URL": "http://127.0.0.1:9/api"}).out
    wrong = {line.split("  ")[0] for line in said.splitlines() if "  wrong  " in line}
    assert wrong == {"prefect", "shop source", "shop config", "shop staging target", "shop production target"}
    assert "checks, 5 wrong" in said


def test_validate_is_what_an_editor_can_jump_to(shop: Shop, tmp_path: Path) -> None:
    assert shop("validate").out.splitlines() == [
        "shop  staging → production",
        f"{shop.root}/fleet: 1 application, 2 stages, all right",
    ]
    env = shop.fleet(tmp_path, ("stages:", "stags:"))
    spec = tmp_path / "apps" / "shop.yaml"
    said = shop("validate", code=2, env=env)
    assert said.out == ""
    assert said.err.splitlines() == [
        f"{spec}:1:1: 'stages' is missing; add 'stages: …'",
        f"{spec}:6:1: unknown key 'stags'; did you mean 'stages'?",
        "tidegate: 2 problems in 1 file",
    ]
    answer = shop("validate", str(spec), "-o", "json", code=2).json
    assert [(p["line"], p["hint"]) for p in answer["problems"]][1] == (6, "did you mean 'stages'?")
    assert shop("status", code=2, env=env).err.splitlines() == said.err.splitlines()[:2]


def test_the_schema_is_printed_for_editors(shop: Shop) -> None:
    committed = Path(__file__).parents[2] / "deployments" / "schema.json"
    assert shop("schema").out == committed.read_text()
