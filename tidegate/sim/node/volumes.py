"""Volumes as folders: configMap, secret, downwardAPI, projected, emptyDir and claims, linked into the container."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tidegate.sim.client import Object
from tidegate.sim.node.environment import ConfigError, Lookup, contents, field_value, find
from tidegate.sim.node.network import Address

ClaimFolder = Callable[[str], Path]
"""Claim name → its folder, which outlives the pod."""


def prepare(pod: Object, root: Path, address: Address, lookup: Lookup, claim: ClaimFolder) -> dict[str, Path]:
    """Volume name → folder. Raises ConfigError naming what is missing or not supported."""
    folders = {}
    for volume in pod["spec"].get("volumes") or []:
        name = volume["name"]
        folder = root / name
        if "persistentVolumeClaim" in volume:
            folder = claim(volume["persistentVolumeClaim"]["claimName"])
        elif "emptyDir" not in volume:
            _write(folder, _files(pod, volume, address, lookup), volume)
        folder.mkdir(parents=True, exist_ok=True)
        folders[name] = folder
    return folders


def _files(pod: Object, source: Mapping[str, Any], address: Address, lookup: Lookup) -> dict[str, bytes]:
    if "configMap" in source:
        return _items(source["configMap"], find("ConfigMap", source["configMap"], lookup))
    if "secret" in source:
        spec = {
            "name": source["secret"].get("secretName") or source["secret"].get("name"),
            **source["secret"],
        }
        return _items(spec, find("Secret", spec, lookup))
    if "downwardAPI" in source:
        items = source["downwardAPI"].get("items") or []
        return {i["path"]: field_value(pod, i["fieldRef"]["fieldPath"], address).encode() for i in items}
    if "projected" in source:
        merged: dict[str, bytes] = {}
        for part in source["projected"].get("sources") or []:
            if "serviceAccountToken" not in part:
                merged.update(_files(pod, part, address, lookup))
        return merged
    kinds = ", ".join(k for k in source if k != "name") or "none"
    raise ConfigError(f"volume {source.get('name')!r}: kind {kinds} is not supported here")


def _items(spec: Mapping[str, Any], found: Object | None) -> dict[str, bytes]:
    files = contents(found) if found else {}
    if not spec.get("items"):
        return files
    chosen = {}
    for item in spec["items"]:
        if item["key"] in files:
            chosen[item["path"]] = files[item["key"]]
        elif not spec.get("optional"):
            raise ConfigError(f"references non-existent key: {item['key']}")
    return chosen


def _write(folder: Path, files: Mapping[str, bytes], volume: Mapping[str, Any]) -> None:
    """Into a new folder that then takes the old one's place; an unchanged one is left alone."""
    if folder.is_dir() and _read(folder) == dict(files):
        return
    part = folder.with_name(f"{folder.name}.new")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    secret = "secret" in volume
    for name, data in files.items():
        path = Path(os.path.normpath(part / name))
        if not path.is_relative_to(part) or path == part:
            raise ConfigError(f"volume {volume['name']!r}: path {name!r} leads out of it")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o600 if secret else 0o644)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)


def _read(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def is_refreshed(pod: Object) -> bool:
    """Whether the pod has volumes whose source may change while it runs."""
    kinds = {"configMap", "secret", "projected"}
    return any(kinds & volume.keys() for volume in pod["spec"].get("volumes") or [])


def mount(container: Mapping[str, Any], folders: Mapping[str, Path], rootfs: Path) -> None:
    """Links each volumeMount into `rootfs`; what the image had at that path is hidden, as a mount would."""
    for entry in container.get("volumeMounts") or []:
        source = folders.get(entry["name"])
        if source is None:
            raise ConfigError(f"volume mount {entry['name']!r}: the pod has no such volume")
        if entry.get("subPath"):
            source = _inside(source, entry["subPath"], "subPath")
            if not source.exists():
                source.mkdir(parents=True)
        target = _inside(rootfs, entry["mountPath"].lstrip("/"), "mountPath")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        else:
            target.unlink(missing_ok=True)
        target.symlink_to(source)


def _inside(root: Path, path: str, what: str) -> Path:
    found = Path(os.path.normpath(root / path.lstrip("/")))
    parent = Path(os.path.realpath(found.parent))
    if not found.is_relative_to(root) or found == root or not parent.is_relative_to(os.path.realpath(root)):
        raise ConfigError(f"{what} {path!r} leads out of its volume")
    return found
