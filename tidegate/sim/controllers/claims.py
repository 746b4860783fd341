"""PersistentVolumeClaims: Bound as soon as they exist, held while a pod uses them; the node gives each a folder."""

from __future__ import annotations

from tidegate.sim.client import CLAIMS, PODS, Client, Object
from tidegate.sim.controllers.pods import is_deleting, phase
from tidegate.sim.informer import Informers, Key

PROTECTION = "kubernetes.io/pvc-protection"
"""The finalizer every claim is born with."""


class ClaimController:
    """Binds every claim to a volume named after its uid (no PersistentVolume object is made)."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._claims = informers[CLAIMS]

    def reconcile(self, key: Key) -> float | None:
        claim = self._claims.get(*key)
        if claim is not None and is_deleting(claim):
            self._release(key, claim)
            return None
        if claim is None or (claim.get("status") or {}).get("phase") == "Bound":
            return None
        meta, spec = claim["metadata"], claim["spec"]
        if not spec.get("volumeName"):
            body = {"metadata": {"uid": meta["uid"]}, "spec": {"volumeName": f"pvc-{meta['uid']}"}}
            self._claims.remember(self._client.patch(CLAIMS, *key, body))
        status = {
            "phase": "Bound",
            "accessModes": spec.get("accessModes") or ["ReadWriteOnce"],
            "capacity": dict((spec.get("resources") or {}).get("requests") or {}),
        }
        self._claims.remember(self._client.patch(CLAIMS, *key, {"status": status}, "status"))
        return None

    def _release(self, key: Key, claim: Object) -> None:
        """A claim that is deleted stays as long as a pod uses it; the end of such a pod leads here again."""
        meta = claim["metadata"]
        held = meta.get("finalizers") or []
        if PROTECTION not in held or any(key in claims_of(p) for p in self._client.list(PODS, key[0])[0]):
            return
        kept = [name for name in held if name != PROTECTION] or None
        body = {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": kept}
        }
        self._client.patch(CLAIMS, *key, body)


def claims_of(pod: Object) -> list[Key]:
    """The claims a pod that has not ended uses."""
    if phase(pod) in ("Succeeded", "Failed"):
        return []
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    named = (volume.get("persistentVolumeClaim") for volume in volumes)
    return [(pod["metadata"]["namespace"], claim["claimName"]) for claim in named if claim]
