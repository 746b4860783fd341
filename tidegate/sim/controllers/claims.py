"""PersistentVolumeClaims: Bound as soon as they exist; the node agent gives each a folder."""

from __future__ import annotations

from tidegate.sim.client import CLAIMS, Client
from tidegate.sim.controllers.pods import is_deleting
from tidegate.sim.informer import Informers, Key


class ClaimController:
    """Binds every claim to a volume named after its uid (no PersistentVolume object is made)."""

    def __init__(self, client: Client, informers: Informers) -> None:
        self._client = client
        self._claims = informers[CLAIMS]

    def reconcile(self, key: Key) -> float | None:
        claim = self._claims.get(*key)
        if claim is None or is_deleting(claim) or (claim.get("status") or {}).get("phase") == "Bound":
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
