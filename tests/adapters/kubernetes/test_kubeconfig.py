"""Plain kubeconfigs are read without the official client, and mean the same to both."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate.adapters.targets.kubernetes.connection import _by_client, connect
from tidegate.adapters.targets.kubernetes.kubeconfig import simple
from tidegate.errors import SpecError


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


def written(path: Path, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "contexts": [
            {"name": "a", "context": {"cluster": "one", "user": "me"}},
            {"name": "b", "context": {"cluster": "two", "user": "me"}},
        ],
        "clusters": [
            {"name": "one", "cluster": {"server": "https://one.example:6443/"} | cluster},
            {"name": "two", "cluster": {"server": "https://two.example"}},
        ],
        "users": [{"name": "me", "user": user if user is not None else {"token": "t"}}],
    }
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.mark.parametrize("context", [None, "a", "b"])
@pytest.mark.parametrize("user", [{"token": "t"}, {}])
def test_both_readers_agree(tmp_path: Path, context: str | None, user: dict[str, Any]) -> None:
    file = written(tmp_path / "config", user)
    found = simple(file, context, 4)
    assert found is not None
    ours, theirs = connect(file, context), _by_client(file, context, False)
    assert ours.host == theirs.host
    assert {k.lower(): v for k, v in ours.headers().items()} == theirs.headers()


@pytest.mark.parametrize(
    ("user", "cluster"),
    [
        ({"exec": {"command": "x"}}, {}),
        ({"client-certificate-data": "x"}, {}),
        ({"token": "t", "as": "somebody"}, {}),
        ({}, {"insecure-skip-tls-verify": True}),
        ({}, {"proxy-url": "http://x"}),
        ({}, {"tls-server-name": "x"}),
        ({}, {"certificate-authority": "is-not-there"}),
        ({}, {"certificate-authority-data": "not base64!"}),
    ],
)
def test_whatever_is_not_plain_is_left_to_the_client(
    tmp_path: Path, user: dict[str, Any], cluster: dict[str, Any]
) -> None:
    assert simple(written(tmp_path / "config", user, **cluster), None, 4) is None


def test_several_files_and_proxies_are_left_to_the_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(tmp_path / "config")
    monkeypatch.setenv("KUBECONFIG", str(file))
    assert simple(None, None, 4) is not None
    monkeypatch.setenv("KUBECONFIG", f"{file}:{file}")
    assert simple(None, None, 4) is None
    monkeypatch.setenv("KUBECONFIG", str(file))
    monkeypatch.setenv("HTTPS_PROXY", "http://x")
    assert simple(None, None, 4) is None


def test_a_context_that_is_not_there_is_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="prod: cannot be used"):
        connect(written(tmp_path / "config"), "prod")


def test_a_plain_kubeconfig_never_imports_the_client(kubeconfig: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from tidegate.adapters.targets.kubernetes import Settings, build
from tidegate.domain.manifests import Ref
cluster = build(Settings(kubeconfig=Path({str(kubeconfig)!r})))
assert cluster.read([Ref("", "Namespace", "", "default")])
assert "kubernetes" not in sys.modules and "prefect" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
