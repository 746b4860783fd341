"""What a container's process gets to see: environment, arguments, folders."""

from __future__ import annotations

import base64
import sys
from pathlib import Path
from typing import Any

import pytest

from tidegate.errors import NotFound
from tidegate.sim.node.environment import (
    ConfigError,
    StartError,
    command,
    process_env,
    resolve_env,
    working_folder,
)
from tidegate.sim.node.network import Address
from tidegate.sim.node.volumes import mount, prepare

POD: dict[str, Any] = {
    "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": {"app": "web"}},
    "spec": {"nodeName": "here"},
}
OBJECTS: dict[tuple[str, str], dict[str, Any]] = {
    ("ConfigMap", "settings"): {
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "namespace": "shop"},
        "data": {"MODE": "fast", "file.txt": "text"},
    },
    ("Secret", "keys"): {
        "kind": "Secret",
        "metadata": {"name": "keys", "namespace": "shop"},
        "data": {"TOKEN": base64.b64encode(b"t0p").decode()},
    },
}
HERE = Address("127.77.0.9")


def lookup(kind: str, name: str) -> dict[str, Any]:
    if (kind, name) not in OBJECTS:
        raise NotFound(f"{kind} {name}")
    return OBJECTS[(kind, name)]


def test_later_sources_win_and_references_between_variables_are_expanded() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "settings"}}, {"prefix": "P_", "secretRef": {"name": "keys"}}],
        "env": [
            {"name": "MODE", "value": "slow"},
            {"name": "URL", "value": "http://$(WHERE)/$(MODE)/$(NOBODY)/$$(MODE)"},
            {"name": "WHERE", "value": "late"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "APP", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "TOKEN"}}},
            {
                "name": "MAYBE",
                "valueFrom": {"configMapKeyRef": {"name": "gone", "key": "x", "optional": True}},
            },
        ],
    }
    env = resolve_env(POD, container, {"Env": ["WHERE=image", "BASE=1"]}, HERE, lookup)
    assert env["URL"] == "http://image/slow/$(NOBODY)/$(MODE)"
    assert env["MODE"] == "slow" and env["BASE"] == "1" and env["P_TOKEN"] == "t0p"
    assert (env["NAME"], env["IP"], env["APP"], env["TOKEN"]) == ("web-1", "127.77.0.9", "web", "t0p")
    assert "MAYBE" not in env


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"configMapKeyRef": {"name": "gone", "key": "x"}}, 'configmap "gone" not found'),
        ({"secretKeyRef": {"name": "keys", "key": "x"}}, "couldn't find key x in Secret shop/keys"),
        ({"fieldRef": {"fieldPath": "spec.nonsense"}}, "spec.nonsense"),
    ],
)
def test_what_is_missing_is_named(source: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve_env(POD, {"env": [{"name": "A", "valueFrom": source}]}, {}, HERE, lookup)


def test_the_process_inherits_nothing_of_ours_and_is_told_where_to_listen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "secret")
    (tmp_path / "app").mkdir()
    env = process_env({"PYTHONPATH": "/app:/nowhere", "HOST": "0.0.0.0"}, tmp_path, HERE, [8080, 9090], {})
    assert "SOME_TOKEN" not in env
    assert env["PYTHONPATH"] == f"{tmp_path}/app:/nowhere"
    assert (env["HOST"], env["PORT"], env["PORT_9090"]) == ("127.77.0.9", "8080", "9090")


def test_a_remapped_port_reaches_the_process_even_when_it_asked_for_one(tmp_path: Path) -> None:
    shared = Address("127.0.0.1", {8080: 41234})
    assert process_env({"PORT": "8080"}, tmp_path, shared, [8080], {})["PORT"] == "41234"
    assert shared.annotations(8080) == {"tidegate.dev/port-8080": "41234", "prometheus.io/port": "41234"}


def test_commands_are_combined_as_kubernetes_does_and_mapped_into_the_image(tmp_path: Path) -> None:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "server.py").write_text("")
    image = {"Entrypoint": ["python3"], "Cmd": ["/app/server.py", "--at", "/etc/nothing"]}
    env = {"PATH": "/bin:/usr/bin", "X": "1"}
    server = f"{tmp_path}/app/server.py"
    assert command({}, image, env, tmp_path) == [sys.executable, server, "--at", "/etc/nothing"]
    assert command({"args": ["-V"]}, image, env, tmp_path) == [sys.executable, "-V"]
    assert command({"command": ["sh", "-c", "echo $(X)"]}, image, env, tmp_path)[1:] == ["-c", "echo 1"]
    with pytest.raises(StartError, match="no command specified"):
        command({}, {}, env, tmp_path)
    with pytest.raises(StartError, match="nosuchprogram"):
        command({"command": ["nosuchprogram"]}, image, env, tmp_path)


def test_the_working_folder_cannot_leave_the_image(tmp_path: Path) -> None:
    assert working_folder({}, {"WorkingDir": "/app"}, tmp_path) == tmp_path / "app"
    with pytest.raises(ConfigError):
        working_folder({"workingDir": "/../../etc"}, {}, tmp_path)


def test_volumes_become_files_at_their_mount_path(tmp_path: Path) -> None:
    pod = {
        **POD,
        "spec": {
            "volumes": [
                {
                    "name": "c",
                    "configMap": {"name": "settings", "items": [{"key": "file.txt", "path": "a/b.txt"}]},
                },
                {"name": "s", "secret": {"secretName": "keys"}},
                {"name": "e", "emptyDir": {}},
                {"name": "p", "persistentVolumeClaim": {"claimName": "data"}},
            ]
        },
    }
    rootfs = tmp_path / "rootfs"
    rootfs.mkdir()
    folders = prepare(pod, tmp_path / "volumes", HERE, lookup, lambda name: tmp_path / "claims" / name)
    paths = {"c": "/etc/config", "s": "/etc/keys", "e": "/scratch", "p": "/data"}
    mount({"volumeMounts": [{"name": n, "mountPath": p} for n, p in paths.items()]}, folders, rootfs)
    assert (rootfs / "etc/config/a/b.txt").read_text() == "text"
    assert (rootfs / "etc/keys/TOKEN").read_bytes() == b"t0p"
    assert (rootfs / "etc/keys/TOKEN").stat().st_mode & 0o077 == 0
    (rootfs / "data" / "kept").write_text("1")
    assert (tmp_path / "claims/data/kept").exists()
    with pytest.raises(ConfigError, match="leads out"):
        mount({"volumeMounts": [{"name": "e", "mountPath": "/../../x"}]}, folders, rootfs)


def test_a_changed_config_map_reaches_the_mounted_folder_and_an_unchanged_one_is_left_alone(
    tmp_path: Path,
) -> None:
    changing = {**OBJECTS[("ConfigMap", "settings")], "data": {"a": "1"}}
    pod = {**POD, "spec": {"volumes": [{"name": "c", "configMap": {"name": "settings"}}]}}

    def fill() -> Path:
        return prepare(pod, tmp_path, HERE, lambda *_: changing, lambda _: tmp_path)["c"]

    first = fill().stat().st_ino
    assert fill().stat().st_ino == first
    changing["data"] = {"b": "2"}
    assert [p.name for p in fill().iterdir()] == ["b"]
