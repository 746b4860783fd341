"""Secrets planted in the environment, addresses, manifests and a test's output come out nowhere."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.flows.town import Shop, Town
from tidegate.demo.repositories import git

ENVIRONMENT = {
    "TIDEGATE_GIT_TOKEN": "planted-git-token",
    "TIDEGATE_REGISTRY_PASSWORD": "planted-registry-password",
    "AWS_SECRET_ACCESS_KEY": "planted-cloud-key",
}
IN_ADDRESS, IN_MANIFEST = "planted-in-the-address", "planted-in-a-manifest"
PLANTED = (*ENVIRONMENT.values(), IN_ADDRESS, IN_MANIFEST)
TELLS_ALL = "import os, pathlib; print(dict(os.environ), pathlib.Path('/proc/self/environ').read_bytes())"


@pytest.fixture
def told(the_town: Town, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Everything that a release, a refused one and a missing repository left behind, as text."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TIDEGATE_REGISTRY_USERNAME", "bot")
    shop = Shop(the_town, "discreet", replicas=1, canary=False)
    path = the_town.fleet / "discreet.yaml"
    spec = yaml.safe_load(path.read_text())
    _plant_manifest(shop)
    the_town.admit("discreet")

    def end(expected: str, **changed: Any) -> dict[str, str]:
        """Run the pipeline of a new push with something changed in the spec."""
        path.write_text(yaml.safe_dump({**spec, **changed}))
        shop.push(str(len(outs) + 1))
        outs.append(the_town.run("pipeline", app="discreet"))
        assert outs[-1]["type"] == expected, outs[-1]
        return outs[-1]

    outs: list[dict[str, str]] = []
    tells = {"run": ["python", "-c", TELLS_ALL]}
    end("COMPLETED", integrate={**spec["integrate"], "test": tells})
    tells["run"][-1] += "; raise SystemExit(1)"
    end("FAILED", integrate={**spec["integrate"], "test": tells})
    url = _with_password(the_town.git.url("discreet"))
    refused = end("FAILED", source={**spec["source"], "git": url})
    assert "a password in the address of a repository; remove it" in refused["message"]
    missing = end("FAILED", source={**spec["source"], "git": the_town.git.url("nowhere")})
    assert "nowhere" in missing["message"]
    texts = [json.dumps(out, ensure_ascii=False) for out in outs]
    return [*texts, *_in_prefect(the_town), *_in_git(the_town, "discreet-config"), *_on_disk(the_town)]


def test_no_planted_secret_comes_out_anywhere(told: list[str]) -> None:
    everything = "\n".join(told)
    assert "discreet" in everything, "something was read"
    for secret in PLANTED:
        for form in (secret, base64.b64encode(secret.encode()).decode()):
            at = everything.find(form)
            assert at < 0, everything[max(0, at - 300) : at + 100]


def _with_password(url: str) -> str:
    return url.replace("://", f"://bot:{IN_ADDRESS}@", 1)


def _plant_manifest(shop: Shop) -> None:
    """A Secret in the stage's folder, as the user wrote it: there it may stand."""
    folder = shop.town.home / "work" / f"{shop.name}-config"
    for stage in ("staging", "production"):
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": "door", "namespace": shop.namespace(stage)},
            "stringData": {"key": IN_MANIFEST},
        }
        (folder / "shop" / stage / "door.yaml").write_text(yaml.safe_dump(secret))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Add a door")
    git(folder, "push", "--quiet")


def _in_prefect(town: Town) -> list[str]:
    """Logs, artifacts, events, runs with their parameters and states."""

    def all_of(path: str, body: dict[str, Any]) -> list[str]:
        found: list[str] = []
        while page := town.prefect(path, {**body, "limit": 200, "offset": len(found)}):
            found += [json.dumps(row, ensure_ascii=False) for row in page]
        return found

    events = town.prefect("/events/filter", {"limit": 50})
    found = [json.dumps(events, ensure_ascii=False)]
    for path in ("/logs/filter", "/artifacts/filter", "/flow_runs/filter", "/task_runs/filter"):
        found += all_of(path, {})
    assert len(found) > 50
    return found


def _in_git(town: Town, repository: str) -> list[str]:
    """Every commit with its whole change on every branch of ours; the user's own file is not ours."""
    bare = town.home / "git" / f"{repository}.git"
    ours = git(bare, "for-each-ref", "--format=%(refname)", "refs/heads/tidegate").splitlines()
    assert len(ours) == 3, ours
    whole = [git(bare, "log", "-p", "--format=raw", ref) for ref in ours]
    return [*whole, git(bare, "log", "--format=%B", "main")]


def _on_disk(town: Town) -> list[str]:
    """What processes of ours were told by arguments, and what mirrors remember."""
    files = [p for p in (town.home / "state").rglob("*") if p.is_file() and p.suffix not in {".db", ".pack"}]
    texts = [p.read_bytes().decode(errors="replace") for p in files if "/objects/" not in str(p)]
    arguments = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    return [*texts, *(p.read_text(errors="replace") for p in Path(town.home / "logs").iterdir()), arguments]
