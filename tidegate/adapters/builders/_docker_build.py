"""The child that talks to the Docker engine: builds, tags, pushes, prints what the engine says.

A process of its own, so that a build can be watched, limited and cancelled like every other step of CI.
Run as `python -I -m tidegate.adapters.builders._docker_build REQUEST.json ANSWER.json`; the answer is
`{"digest"}` or `{"error", "message"}`, the error being a name of our error family.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests
from docker.utils import kwargs_from_env

_ENGINE_SECONDS = 20
_PUSH_SECONDS = 120
"""How long the engine may be silent while a registry takes in a large layer; the step's timeout is above it."""
_ABSENT = "no Docker engine answers at {}; start one or set DOCKER_HOST, or use the builder 'archive', which needs none"


class Failed(Exception):
    """Ends the child: the name of an error and its message."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


def engine(host: str | None) -> docker.APIClient:
    """A client of an engine that answers; `Failed` when there is none."""
    address = host or os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        where = {"base_url": host} if host else kwargs_from_env()
        client = docker.APIClient(**where, version="auto", timeout=_ENGINE_SECONDS)
        client.ping()
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise Failed("PluginError", _ABSENT.format(address)) from error
    return client


def build(client: docker.APIClient, wanted: dict[str, Any]) -> str:
    """Builds and gives the image's id."""
    if not Path(wanted["context"], wanted["dockerfile"]).is_file():
        raise Failed(
            "Refused", f"there is no '{wanted['dockerfile']}' in the source; name it with 'dockerfile'"
        )
    events = client.build(
        path=wanted["context"],
        dockerfile=wanted["dockerfile"],
        buildargs=wanted["args"],
        labels=wanted["labels"],
        target=wanted["target"] or "",
        platform=wanted["platform"],
        network_mode=wanted["network"],
        pull=wanted["pull"],
        rm=True,
        forcerm=True,
        decode=True,
    )
    image = ""
    for event in told(events, "Refused", "it failed"):
        image = event.get("aux", {}).get("ID", image)
    if not image:
        raise Failed("Rejected", "the engine built without saying what")
    return image


def push(client: docker.APIClient, name: str, tag: str) -> str:
    """Pushes and gives the manifest's digest, as the engine says it."""
    client.timeout = _PUSH_SECONDS
    login = None
    if "TIDEGATE_REGISTRY_USERNAME" in os.environ:
        login = {
            "username": os.environ["TIDEGATE_REGISTRY_USERNAME"],
            "password": os.environ["TIDEGATE_REGISTRY_PASSWORD"],
        }
    events = client.push(name, tag=tag, stream=True, decode=True, auth_config=login)
    digest = ""
    for event in told(events, "Unreachable", "the push failed"):
        digest = event.get("aux", {}).get("Digest", digest)
    if not digest:
        raise Failed("Rejected", "the engine pushed without saying what")
    return digest


def told(events: Iterable[dict[str, Any]], error: str, what: str) -> Iterator[dict[str, Any]]:
    """Prints what a person wants to read (no progress bars); `Failed` at the engine's first error."""
    last = ""
    for event in events:
        if "error" in event:
            message = str(event["error"]).strip()
            refused = any(word in message for word in ("denied", "unauthorized", "authentication"))
            raise Failed(
                "Rejected" if refused else error, f"{what}{f' at {last!r}' if last else ''}: {message}"
            )
        text = str(event.get("stream", "")).rstrip("\n")
        if text.startswith("Step "):
            last = text
        if not text and "status" in event and "progressDetail" not in event:
            text = f"{event.get('id', '')} {event['status']}".strip()
        if text:
            print(text, flush=True)
        yield event


def work(wanted: dict[str, Any]) -> dict[str, str]:
    """The answer to a request."""
    client = engine(wanted["host"])
    try:
        image = build(client, wanted)
        client.tag(image, wanted["name"], wanted["tag"], force=True)
        digest = push(client, wanted["name"], wanted["tag"])
        client.remove_image(f"{wanted['name']}:{wanted['tag']}", noprune=True)  # the layers stay as cache
    except docker.errors.APIError as error:
        raise Failed(
            "Refused" if error.is_client_error() else "Unreachable", str(error.explanation)
        ) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise Failed("Unreachable", f"the engine went away: {type(error).__name__}") from error
    finally:
        client.close()
    return {"digest": digest}


def main(request: str, answer: str) -> int:
    """Does the work and writes the answer; the exit code says whether there is a digest."""
    try:
        said = work(json.loads(Path(request).read_bytes()))
    except Failed as failed:
        said = {"error": failed.error, "message": str(failed)}
        print(said["message"], flush=True)
    Path(answer).write_text(json.dumps(said))
    return 0 if "digest" in said else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
