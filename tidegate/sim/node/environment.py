"""What a container's process is started with: its environment, arguments and folder, mapped into the unpacked image.

There is no chroot: the process sees the machine's files. Arguments and environment values that are absolute paths
inside the image (`/app/model.npz`) are rewritten to where that file really is, `python` is the running interpreter,
and the working folder is the image's. Anything the application opens by an absolute path of its own is not.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tidegate.errors import NotFound, OutsideError
from tidegate.sim.client import Object
from tidegate.sim.node.network import Address

Lookup = Callable[[str, str], Object]
"""(kind, name) → the ConfigMap or Secret of the pod's namespace; raises NotFound."""

_PYTHON = re.compile(r"(/usr(/local)?/bin/)?python(3(\.\d+)?)?")
_VARIABLE = re.compile(r"\$\$|\$\(([A-Za-z_][\w.-]*)\)")
_ENV_NAME = re.compile(r"[A-Za-z_.-][\w.-]*")


class ConfigError(OutsideError):
    """The container cannot be started as written (CreateContainerConfigError)."""


class StartError(OutsideError):
    """There is no such program in the image or on the machine."""


def resolve_env(
    pod: Object, container: Mapping[str, Any], image: Mapping[str, Any], address: Address, lookup: Lookup
) -> dict[str, str]:
    """Image, envFrom, env in this order, `$(NAME)` expanded; raises ConfigError naming what is missing."""
    env = dict(entry.split("=", 1) for entry in image.get("Env") or [] if "=" in entry)
    for source in container.get("envFrom") or []:
        env.update(_env_from(source, lookup))
    for entry in container.get("env") or []:
        value = _value(pod, container, entry, address, lookup)
        if value is not None:
            env[entry["name"]] = expand(value, env)
    return env


def _env_from(source: Mapping[str, Any], lookup: Lookup) -> dict[str, str]:
    prefix = source.get("prefix") or ""
    for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
        if field in source:
            found = find(kind, source[field], lookup)
            data = texts(found) if found else {}
            return {prefix + k: v for k, v in data.items() if _ENV_NAME.fullmatch(prefix + k)}
    return {}


def _value(
    pod: Object, container: Mapping[str, Any], entry: Mapping[str, Any], address: Address, lookup: Lookup
) -> str | None:
    source = entry.get("valueFrom")
    if not source:
        return str(entry.get("value") or "")
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"], address)
    if "resourceFieldRef" in source:
        resource = source["resourceFieldRef"]["resource"]
        group, _, name = resource.partition(".")
        return str(((container.get("resources") or {}).get(group) or {}).get(name, "0"))
    for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
        if field in source:
            return _key(kind, source[field], lookup)
    raise ConfigError(f"env {entry['name']}: this valueFrom is not supported here")


def _key(kind: str, reference: Mapping[str, Any], lookup: Lookup) -> str | None:
    found = find(kind, reference, lookup)
    if found is None:
        return None
    data = texts(found)
    if reference["key"] in data:
        return data[reference["key"]]
    if reference.get("optional"):
        return None
    namespace = found["metadata"].get("namespace")
    raise ConfigError(f"couldn't find key {reference['key']} in {kind} {namespace}/{reference['name']}")


def find(kind: str, reference: Mapping[str, Any], lookup: Lookup) -> Object | None:
    try:
        return lookup(kind, reference["name"])
    except NotFound as error:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind.lower()} "{reference["name"]}" not found') from error


def contents(obj: Object) -> dict[str, bytes]:
    """The files a ConfigMap or Secret stands for."""
    if obj["kind"] == "Secret":
        return {k: base64.b64decode(v or "") for k, v in (obj.get("data") or {}).items()}
    plain = {k: v.encode() for k, v in (obj.get("data") or {}).items()}
    binary = {k: base64.b64decode(v) for k, v in (obj.get("binaryData") or {}).items()}
    return {**plain, **binary}


def texts(obj: Object) -> dict[str, str]:
    return {k: v.decode("utf-8", "replace") for k, v in contents(obj).items()}


def field_value(pod: Object, path: str, address: Address) -> str:
    """A downward-API field; labels and annotations one by one (`metadata.labels['x']`) or all as lines."""
    meta = pod["metadata"]
    keyed = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if keyed:
        return str((meta.get(keyed[1]) or {}).get(keyed[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = meta.get(path.partition(".")[2]) or {}
        return "".join(f'{k}="{v}"\n' for k, v in sorted(entries.items())).rstrip("\n")
    known = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": pod["spec"].get("nodeName", ""),
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": address.ip,
        "status.podIPs": address.ip,
        "status.hostIP": "127.0.0.1",
    }
    if path not in known:
        raise ConfigError(f"fieldRef {path}: this field is not supported here")
    return str(known[path])


def expand(text: str, env: Mapping[str, str]) -> str:
    """`$(NAME)` → its value, unknown names stay, `$$` → `$`."""

    def put(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return env.get(found[1], found[0])

    return _VARIABLE.sub(put, text)


def inside(rootfs: Path, text: str) -> str:
    """An absolute path of the image as it is on this machine; any other text as it is."""
    if not text.startswith("/") or "\0" in text or len(text) > 4000:
        return text
    mapped = os.path.normpath(f"{rootfs}/{text.lstrip('/')}")
    if not mapped.startswith(f"{rootfs}{os.sep}") and mapped != str(rootfs):
        return text
    return mapped if os.path.lexists(mapped) else text


def process_env(
    env: Mapping[str, str], rootfs: Path, address: Address, ports: Sequence[int], services: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of the process: little of ours, the container's, and where to listen."""
    bin_folder = str(Path(sys.executable).parent)
    system = {
        "PATH": f"{bin_folder}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": str(rootfs),
        "LANG": "C.UTF-8",
        "TMPDIR": str(rootfs / "tmp"),
        "PYTHONUNBUFFERED": "1",
        "TIDEGATE_ROOTFS": str(rootfs),
    }
    own = {k: ":".join(inside(rootfs, part) for part in v.split(":")) for k, v in env.items() if k != "PATH"}
    listen = {"HOST": address.ip, "POD_IP": address.ip, "TIDEGATE_POD_IP": address.ip}
    listen |= {f"PORT_{port}": str(address.port(port)) for port in ports}
    asked = own.get("PORT", "")
    port = int(asked) if asked.isdigit() else ports[0] if ports else None
    if port is not None:
        listen["PORT"] = str(address.port(port))
    return {**system, **services, **own, **listen}


def command(
    container: Mapping[str, Any], image: Mapping[str, Any], env: Mapping[str, str], rootfs: Path
) -> list[str]:
    """The arguments to start, as Kubernetes combines pod and image; raises StartError when there is no program."""
    own = container.get("command")
    args = container.get("args")
    entrypoint = own or image.get("Entrypoint") or []
    if args is None:
        args = [] if own else image.get("Cmd") or []
    words = [expand(word, env) for word in [*entrypoint, *args]]
    if not words:
        raise StartError("no command specified")
    return resolve_program(words, env, rootfs)


def resolve_program(words: Sequence[str], env: Mapping[str, str], rootfs: Path) -> list[str]:
    """`words` with the program found (image first, then this machine) and paths mapped into the image."""
    mapped = [inside(rootfs, word) for word in words]
    program = words[0]
    if _PYTHON.fullmatch(program):  # the image's own would need the image's libraries at its root
        mapped[0] = sys.executable
    elif "/" not in program:
        found = shutil.which(program, path=env.get("PATH"))
        if found is None:
            raise StartError(f'exec: "{program}": executable file not found in $PATH')
        mapped[0] = found
    if "/" in mapped[0] and not mapped[0].startswith("/"):
        return mapped
    if not os.access(mapped[0], os.X_OK):
        raise StartError(f'exec: "{program}": no such program in the image, or not executable')
    return mapped


def working_folder(container: Mapping[str, Any], image: Mapping[str, Any], rootfs: Path) -> Path:
    """The image's working folder under `rootfs`, created when missing; never outside."""
    wanted = container.get("workingDir") or image.get("WorkingDir") or "/"
    folder = Path(os.path.normpath(f"{rootfs}/{wanted.lstrip('/')}"))
    if not folder.is_relative_to(rootfs):
        raise ConfigError(f"working folder {wanted!r} leads out of the image")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
