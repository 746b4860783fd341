"""Kubernetes objects as plain data: what names one, how it is written to the rendered branch and read back.

A manifest is what the API server would read as JSON. Everything here is pure; nothing knows a cluster.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import yaml

from tidegate import yaml_reader
from tidegate.domain.options import options
from tidegate.errors import Problem, SpecError

Manifest = dict[str, Any]

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_SERVER_SET = ("managedFields", "resourceVersion", "uid", "generation", "creationTimestamp", "selfLink")
_DIGEST = re.compile(r"hmac-sha256:[0-9a-f]{32}")
_SAFE_PLAIN = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.@ -]*(?::[A-Za-z0-9_/.@-]+)*")
_TYPED_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "~"}
_WORKLOADS = {
    ("apps", "Deployment"),
    ("apps", "StatefulSet"),
    ("apps", "DaemonSet"),
    ("apps", "ReplicaSet"),
    ("", "ReplicationController"),
    ("batch", "Job"),
}


@dataclass(frozen=True, slots=True, order=True)
class Ref:
    """What names an object in one cluster. The version is carried, not compared: it is only how we ask."""

    group: str
    kind: str
    namespace: str
    name: str
    version: str = field(default="", compare=False)

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def api_version(self) -> str:
        """`apps/v1`, `v1`; without a known version just the group."""
        return "/".join(part for part in (self.group, self.version) if part)


def ref(manifest: Manifest) -> Ref:
    """The object's name in the cluster; the namespace is empty when the manifest has none."""
    group, _, version = str(manifest.get("apiVersion", "")).rpartition("/")
    meta = manifest.get("metadata") or {}
    return Ref(
        group, manifest.get("kind", ""), meta.get("namespace") or "", meta.get("name") or "", version=version
    )


# --- reading ------------------------------------------------------------------------------------------------


def read(text: bytes, source: str) -> list[Manifest]:
    """Manifests of a YAML or JSON stream, `List`s opened once, server-set fields and `status` dropped.

    Raises `SpecError` with `source:line:column` for anything that is no Kubernetes object.
    """
    return [manifest for manifest, _ in read_located(text, source)]


def read_located(text: bytes, source: str) -> list[tuple[Manifest, str]]:
    """Like `read`, each manifest with the `source:line` it came from."""
    found: list[tuple[Manifest, str]] = []
    problems: list[Problem] = []
    for document in yaml_reader.read(text, source):
        for path, item in _opened(document.data):
            wrong = _wrong(item)
            if wrong is None:
                found.append((_named(without_server_fields(item)), f"{source}:{document.line}"))
                continue
            line, column = document.position((*path, *wrong[0]))
            problems.append(Problem(source, line, column, wrong[1], wrong[2]))
    if problems:
        raise SpecError(problems=problems)
    return found


_Where = tuple[str | int, ...]


def _opened(data: Any) -> list[tuple[_Where, Any]]:
    if data is None:
        return []
    if isinstance(data, dict) and data.get("kind") == "List" and data.get("apiVersion") == "v1":
        items = data.get("items")
        return [(("items", i), item) for i, item in enumerate(items if isinstance(items, list) else [])]
    return [((), data)]


def _wrong(item: Any) -> tuple[_Where, str, str] | None:
    """Where, what, and what helps; None for a Kubernetes object."""
    if not isinstance(item, dict):
        return (), "not a Kubernetes object", "start with apiVersion, kind and metadata"
    for key in ("apiVersion", "kind"):
        if not isinstance(item.get(key), str) or not item[key]:
            return _no_text(item, (key,), key, "every Kubernetes object starts with it")
    if item["kind"] == "List":
        return (), "a List inside a List", "write the objects as documents of their own"
    meta = item.get("metadata")
    if not isinstance(meta, dict):
        return ("metadata",), f"{item['kind']}: metadata is missing or not a map", "give it a name there"
    if _is_nameless(item):
        return _wrong_strings(meta, "annotations") or _wrong_prefix(item)
    if not isinstance(meta.get("name"), str) or not meta["name"]:
        return _no_text(meta, ("metadata", "name"), f"{item['kind']}: metadata.name", "give it a name")
    if not isinstance(meta.get("namespace", ""), str | None):
        return ("metadata", "namespace"), "metadata.namespace is not text", "put it in quotes"
    return _wrong_strings(meta, "labels") or _wrong_strings(meta, "annotations")


def _is_nameless(item: Manifest) -> bool:
    meta = item["metadata"]
    return "generateName" in meta and not meta.get("name")


def _wrong_prefix(item: Manifest) -> tuple[_Where, str, str] | None:
    at = ("metadata", "generateName")
    if not options(item).is_hook:
        return at, "generateName cannot be applied twice", "give the object a name"
    if not isinstance(item["metadata"]["generateName"], str):
        return at, "generateName is not text", "put it in quotes"
    return None


def _named(item: Manifest) -> Manifest:
    """A hook that leaves its name to the API server gets one that changes with what it does."""
    if not _is_nameless(item):
        return item
    meta = {key: value for key, value in item["metadata"].items() if key not in ("generateName", "name")}
    body = json.dumps(item, sort_keys=True, ensure_ascii=False)
    name = f"{item['metadata']['generateName'][:56]}{sha256(body.encode()).hexdigest()[:7]}"
    return {**item, "metadata": {"name": name.lower(), **meta}}


def _no_text(holder: Manifest, at: _Where, what: str, hint: str) -> tuple[_Where, str, str]:
    """YAML reads `Y`, `on`, `1e3` as something else than text, and who wrote them does not see it."""
    value = holder.get(str(at[-1]))
    if value is None or value == "":
        return at, f"{what} is missing", hint
    if isinstance(value, list | dict):
        return at, f"{what} is not text", hint
    return at, f"{what} is {json.dumps(value)}, not text", "put it in quotes"


def _wrong_strings(meta: Manifest, name: str) -> tuple[_Where, str, str] | None:
    values = meta.get(name)
    if values is None:
        return None
    if not isinstance(values, dict):
        return ("metadata", name), f"metadata.{name} is not a map", "write key: value lines"
    for key, value in values.items():
        if not isinstance(value, str | None):
            return (
                ("metadata", name, key),
                f"the {name[:-1]} {key} is {json.dumps(value)}, not text",
                "put it in quotes",
            )
    return None


def unique(located: Iterable[tuple[Manifest, str]]) -> list[Manifest]:
    """The manifests, or `SpecError` naming both places where one object is written twice."""
    seen: dict[Ref, str] = {}
    for manifest, where in located:
        name = ref(manifest)
        if name in seen:
            raise SpecError(f"{where}: {name} is already written in {seen[name]}; remove one of them")
        seen[name] = where
    return [manifest for manifest, _ in located]


# --- normal form --------------------------------------------------------------------------------------------


def without_server_fields(manifest: Manifest) -> Manifest:
    """A copy without what only the API server may write, `status`, and kubectl's last-applied copy."""
    meta = {k: v for k, v in (manifest.get("metadata") or {}).items() if k not in _SERVER_SET}
    annotations = meta.get("annotations")
    if annotations and LAST_APPLIED in annotations:
        meta["annotations"] = {k: v for k, v in annotations.items() if k != LAST_APPLIED}
    return {k: v for k, v in manifest.items() if k not in ("status", "metadata")} | {"metadata": meta}


def normal(manifest: Manifest) -> Manifest:
    """The same desired state in the form the API server answers with, so that it compares and merges exactly.

    `stringData` becomes base64 `data` (write-only upstream), a nil secret value becomes empty, and
    `protocol: TCP` is explicit: server-side apply keys ports by it (kubernetes#105610).
    """
    copy: Manifest = json.loads(json.dumps(manifest))
    if is_secret(copy):
        _merge_string_data(copy)
    if copy.get("kind") == "Service" and copy.get("apiVersion") == "v1":
        _explicit_tcp((copy.get("spec") or {}).get("ports"))
    spec = (pod_template(copy) or {}).get("spec") or {}
    for containers in ("containers", "initContainers"):
        for container in spec.get(containers) or []:
            if isinstance(container, dict):
                _explicit_tcp(container.get("ports"))
    return copy


def _explicit_tcp(ports: Any) -> None:
    for port in ports or []:
        if isinstance(port, dict):
            port.setdefault("protocol", "TCP")


def _merge_string_data(secret: Manifest) -> None:
    data = {k: v or "" for k, v in (secret.get("data") or {}).items()}
    for key, value in (secret.pop("stringData", None) or {}).items():
        data[key] = base64.b64encode(str("" if value is None else value).encode()).decode()
    if data or "data" in secret:
        secret["data"] = data


def is_secret(manifest: Manifest) -> bool:
    """True for a core `Secret`."""
    return manifest.get("kind") == "Secret" and manifest.get("apiVersion") == "v1"


def pod_template(manifest: Manifest) -> Manifest | None:
    """The pod template of a workload (of a CronJob: its job's), the Pod itself, or None."""
    kind = (str(manifest.get("apiVersion", "")).rpartition("/")[0], manifest.get("kind"))
    spec = manifest.get("spec") or {}
    if kind == ("", "Pod"):
        return manifest
    if kind == ("batch", "CronJob"):
        spec = (spec.get("jobTemplate") or {}).get("spec") or {}
    elif kind not in _WORKLOADS:
        return None
    template: Manifest | None = spec.get("template")
    return template


def images(manifest: Manifest) -> tuple[str, ...]:
    """Images of all containers, init containers first, as written."""
    spec = (pod_template(manifest) or {}).get("spec") or {}
    containers = [*(spec.get("initContainers") or []), *(spec.get("containers") or [])]
    return tuple(c["image"] for c in containers if c.get("image"))


# --- the rendered branch ------------------------------------------------------------------------------------


def files(manifests: Iterable[Manifest], *, key: bytes) -> dict[str, bytes]:
    """One YAML file per object: `<namespace or _>/<kind>[.<group>]_<name>.yaml`, secrets as digests.

    `key` keys the digests per installation: equal across commits, worthless to who has only the branch.
    """
    return {_path(ref(m)): dump(_masked(m, _keyed(key))) for m in manifests}


def parse(tree: Mapping[str, bytes]) -> list[Manifest]:
    """The manifests of a rendered tree (its `*.yaml`), in path order; Secrets come back masked."""
    return [m for path in sorted(tree) if path.endswith(".yaml") for m in read(tree[path], path)]


def is_masked(manifest: Manifest) -> bool:
    """True for a Secret whose values are digests: it names what should be there, and cannot be applied."""
    values = (manifest.get("data") or {}).values() if is_secret(manifest) else ()
    return any(isinstance(v, str) and _DIGEST.fullmatch(v) for v in values)


def masked(manifest: Manifest, tag: Callable[[str, str], str]) -> Manifest:
    """A copy fit for eyes: every Secret value replaced by `tag(where, value)`, kubectl's copy dropped."""
    return _masked(manifest, tag)


def _masked(manifest: Manifest, tag: Callable[[str, str], str]) -> Manifest:
    clean = without_server_fields(manifest)
    if not is_secret(clean):
        return clean
    clean = normal(clean)
    where = f"{clean['metadata'].get('namespace', '')}/{clean['metadata'].get('name', '')}"
    if clean.get("data"):
        clean["data"] = {
            k: v if _DIGEST.fullmatch(str(v)) else tag(f"{where}/{k}", str(v))
            for k, v in clean["data"].items()
        }
    return clean


def _keyed(key: bytes) -> Callable[[str, str], str]:
    # The place is part of the digest: two secrets with one value must not show that they are equal.
    return lambda where, value: (
        "hmac-sha256:" + hmac.new(key, f"{where}\0{value}".encode(), sha256).hexdigest()[:32]
    )


def _path(name: Ref) -> str:
    kind = f"{name.kind}.{name.group}" if name.group else name.kind
    # `_` occurs in no group and no kind, so the first one always ends them.
    return f"{name.namespace or '_'}/{kind.lower()}_{quote(name.name, safe='')}.yaml"


class _Dumper(yaml.CSafeDumper):
    """Quotes every string that any YAML reader (1.1, 1.2, Go's) could take for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_text(dumper: Any, text: str) -> yaml.ScalarNode:
    style = "'"
    if _SAFE_PLAIN.fullmatch(text) and text.lower() not in _TYPED_WORDS and not text.endswith(" "):
        style = ""
    elif "\n" in text and "\t" not in text and not text.startswith((" ", "\n")):
        style = "|"
    node: yaml.ScalarNode = dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)
    return node


_Dumper.add_representer(str, _represent_text)


def dump(data: Any) -> bytes:
    """YAML with sorted keys that kubectl, PyYAML and we read back as the same values."""
    text: bytes = yaml.dump(
        data,
        Dumper=_Dumper,
        sort_keys=True,
        allow_unicode=True,
        default_flow_style=False,
        width=2**20,
        encoding="utf-8",
    )
    return text
