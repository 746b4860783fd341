"""Whose object is it? One annotation that names installation, application, stage and the object itself.

The object's own name is in the id, so a copied annotation (operators and HNC copy them) claims nothing
(Argo CD, `argocd.argoproj.io/tracking-id`). The label is for listing only and may be cut short.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from hashlib import sha256

from tidegate.domain.manifests import Manifest, Ref, ref

TRACKING_ID = "tidegate.dev/tracking-id"
APP_LABEL = "tidegate.dev/app"


@dataclass(frozen=True, slots=True)
class Owner:
    """One stage of one application of one installation: what a set of live objects belongs to."""

    app: str
    stage: str
    installation: str

    def __str__(self) -> str:
        return f"{self.installation}:{self.app}.{self.stage}"

    @property
    def name(self) -> str:
        """Name of the stage's own objects in the cluster: inventory ConfigMap and Lease."""
        return f"tidegate-{self.app}-{self.stage}"

    @property
    def label(self) -> str:
        """Value of the listing label, at most 63 characters; a digest keeps long ones apart."""
        full = f"{self.app}.{self.stage}"
        return full if len(full) <= 63 else f"{full[:54]}.{sha256(full.encode()).hexdigest()[:8]}"

    def tracking_id(self, name: Ref) -> str:
        """`<installation>:<app>.<stage>:<group>/<Kind>:<namespace>/<name>`."""
        return f"{self}:{name.group}/{name.kind}:{name.namespace}/{name.name}"


def stamped(manifest: Manifest, owner: Owner) -> Manifest:
    """A copy with our annotation and label on the object itself, never on its pod template."""
    made = {**manifest, "metadata": copy.copy(manifest["metadata"])}
    for part, key, value in (
        ("annotations", TRACKING_ID, owner.tracking_id(ref(manifest))),
        ("labels", APP_LABEL, owner.label),
    ):
        made["metadata"][part] = {**(made["metadata"].get(part) or {}), key: value}
    return made


def tracked_by(live: Manifest | None) -> str | None:
    """`<installation>:<app>.<stage>` that the object says it belongs to; None without a valid id."""
    text = annotations_of(live).get(TRACKING_ID)
    if not isinstance(text, str) or live is None:
        return None
    name = ref(live)
    suffix = f":{name.group}/{name.kind}:{name.namespace}/{name.name}"
    return text.removesuffix(suffix) if text.endswith(suffix) else None


def annotations_of(live: Manifest | None) -> dict[str, str]:
    """`metadata.annotations`, empty when absent."""
    found: dict[str, str] = ((live or {}).get("metadata") or {}).get("annotations") or {}
    return found
