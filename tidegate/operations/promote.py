"""Promote: write a release's image digests into the stage's folder, as a commit that says why."""

from __future__ import annotations

from tidegate.adapters.git import Tree
from tidegate.domain.edits import set_images
from tidegate.domain.promotion import StageView
from tidegate.domain.records import Kind
from tidegate.domain.release import Release
from tidegate.operations import record
from tidegate.operations.desk import Desk, Fence
from tidegate.spec import Config


def promote(desk: Desk, release: Release, view: StageView, *, fence: Fence, flow_run: str = "") -> str:
    """Commit and push the promotion; returns the config commit. The same release again changes nothing.

    `SpecError` when no manifest of the folder names the image; `OutsideError` when the push did not happen.
    """
    fence()
    stage, config = desk.stage, desk.application.config
    approvers = view.approvals.get(f"approval:{release.id}", frozenset())
    previous = ", ".join(stage.after)
    trailers = {
        "Tidegate-Release": release.id,
        "Tidegate-Stage": stage.name,
        "Source-Commit": release.revision,
        "Promoted-From": previous,
        "Approved-By": ", ".join(sorted(approvers)),
        "Flow-Run": flow_run,
    }
    done = desk.config.commit(
        config.branch,
        lambda tree: _edit(tree, release, stage.path, config),
        f"Promote {desk.app} {release.id} to {stage.name}",
        body=release.subject,
        trailers={name: value for name, value in trailers.items() if value},
    )
    message = f"{desk.app} {release.id} promoted to {stage.name}"
    who = ", ".join(sorted(approvers)) or "tidegate"
    record.append_missing(
        desk,
        [
            record.new(
                desk,
                Kind.Promotion,
                message,
                release=release.id,
                by=who,
                flow_run=flow_run,
                commit=done.sha,
                previous=previous,
            )
        ],
    )
    return done.sha


def _edit(tree: Tree, release: Release, folder: str, config: Config) -> dict[str, bytes | None]:
    return dict(set_images(tree.files(folder), release.images, config.render.kind, values=config.images))
