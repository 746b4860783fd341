"""PersistentVolumeClaims: Bound as soon as they exist, held while a pod uses them; the node gives each a folder."""

from __future__ import annotations

from tidegate.sim.client import CLAIMS, PODS, VOLUMES, Client, Object, Resource
from tidegate.sim.controllers.pods import is_deleting, phase
from tidegate.sim.informer import Informers, Key

PROTECTION = "kubernetes.io/pvc-protection"
VOLUME_PROTECTION = "kubernetes.io/pv-protection"
"""The finalizers that claims and volumes are born with."""


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
        if not any(key in claims_of(pod) for pod in self._client.list(PODS, key[0])[0]):
            _let_go(self._client, CLAIMS, claim, PROTECTION)


class VolumeController:
    """Lets go of PersistentVolumes that are deleted: nothing is ever bound to one here."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._volumes = informers[VOLUMES]

    def reconcile(self, key: Key) -> float | None:
        volume = self._volumes.get(*key)
        if volume is not None and is_deleting(volume):
            _let_go(self._client, VOLUMES, volume, VOLUME_PROTECTION)
        return None


def _let_go(client: Client, resource: Resource, obj: Object, finalizer: str) -> None:
    meta = obj["metadata"]
    held = meta.get("finalizers") or []
    if finalizer not in held:
        return
    kept = [name for name in held if name != finalizer] or None
    seen = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    client.patch(resource, meta.get("namespace"), meta["name"], {"metadata": {**seen, "finalizers": kept}})


def claims_of(pod: Object) -> list[Key]:
    """The claims a pod that has not ended uses."""
    if phase(pod) in ("Succeeded", "Failed"):
        return []
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    named = (volume.get("persistentVolumeClaim") for volume in volumes)
    return [(pod["metadata"]["namespace"], claim["claimName"]) for claim in named if claim]
