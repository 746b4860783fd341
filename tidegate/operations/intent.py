"""Intent: commit what should be live to the rendered branch, before anything is written to the cluster."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from tidegate.adapters.git import Tree
from tidegate.domain.manifests import Manifest, files, is_masked, ref
from tidegate.domain.promotion import StageView
from tidegate.operations.desk import Desk, Fence, digest_key
from tidegate.operations.look import RELEASE_FILE, tree
from tidegate.operations.rendering import evidence, render


def commit_head(desk: Desk, view: StageView, *, fence: Fence, flow_run: str = "") -> str:
    """Render the config head and make it the intent; returns the commit of the rendered branch."""
    release = view.promoted
    assert release is not None
    about = {
        "app": desk.app,
        "stage": desk.stage.name,
        "release": release.id,
        "revision": release.revision,
        "images": [str(image) for image in release.images],
        "config_commit": view.head,
        "rendered_by": evidence(desk),
    }
    written = files(render(desk, view.head), key=digest_key(desk.settings))
    subject = f"{desk.app} {release.id} should be live in {desk.stage.name}"
    trailers = {
        "Tidegate-Release": release.id,
        "Tidegate-Stage": desk.stage.name,
        "Source-Commit": release.revision,
        "Flow-Run": flow_run,
    }
    fence()
    return commit_tree(desk, written, about, subject, trailers)


def commit_tree(
    desk: Desk,
    written: Mapping[str, bytes],
    about: Mapping[str, object],
    subject: str,
    trailers: Mapping[str, str],
    *,
    offline: bool = False,
) -> str:
    """Make the rendered branch hold exactly these files and `release.json`; returns its commit."""
    wanted = {**written, RELEASE_FILE: (json.dumps(about, indent=1, sort_keys=True) + "\n").encode()}

    def edit(at: Tree) -> dict[str, bytes | None]:
        now = at.files("")
        gone: dict[str, bytes | None] = {path: None for path in now if path not in wanted}
        return gone | {path: text for path, text in wanted.items() if now.get(path) != text}

    done = desk.config.commit(
        desk.rendered_branch,
        edit,
        subject,
        trailers={k: v for k, v in trailers.items() if v},
        offline=offline,
    )
    return str(done.sha)


def desired(desk: Desk, commit: str) -> list[Manifest]:
    """The manifests of an intent, ready to apply: Secrets rendered again from its config commit, in memory only."""
    kept = tree(desk, commit)
    if not any(map(is_masked, kept)):
        return list(kept)
    about = json.loads(desk.config.read(commit, RELEASE_FILE))
    fresh = {ref(m): m for m in render(desk, about["config_commit"])}
    return [fresh.get(ref(m), m) if is_masked(m) else m for m in kept]


def read_about(desk: Desk, commit: str) -> dict[str, object]:
    """`release.json` of a commit of the rendered branch."""
    about: dict[str, object] = json.loads(desk.config.read(commit, RELEASE_FILE))
    return about


def names(manifests: Sequence[Manifest]) -> str:
    """Objects for people: `Deployment shop/web, Service shop/web`."""
    return ", ".join(str(ref(m)) for m in manifests)
