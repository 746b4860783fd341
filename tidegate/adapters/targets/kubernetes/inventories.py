"""The inventory's ConfigMap: read, and written only when its text changes."""

from __future__ import annotations

from collections.abc import Callable

from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.domain.inventory import KEY, Inventory
from tidegate.domain.manifests import Manifest, Ref
from tidegate.domain.tracking import Owner, stamped, tracked_by
from tidegate.errors import Rejected


def read_inventory(objects: Objects, owner: Owner) -> Inventory:
    """What the stage has in the cluster, maybe nothing. Raises `Rejected` when it is not ours."""
    name = Ref("", "ConfigMap", objects.namespace, owner.name, version="v1")
    live = objects.read([name]).get(name)
    if live is None:
        return Inventory(owner)
    other = tracked_by(live)
    if other != str(owner):
        raise Rejected(
            f"inventory {name}: belongs to {other or 'nobody we know'}, not to {owner}; rename the stage"
        )
    try:
        return Inventory.from_text(owner, (live.get("data") or {}).get(KEY, ""))
    except ValueError as error:
        raise Rejected(
            f"inventory {name}: cannot be read; restore it or delete it, then objects are kept"
        ) from error


def write_inventory(
    objects: Objects, inventory: Inventory, before: Inventory, *, fence: Callable[[], None]
) -> Inventory:
    """Make the ConfigMap say `inventory`; nothing is sent when it already does."""
    if inventory.to_text() != before.to_text():
        objects.apply(_config_map(objects.namespace, inventory), fence=fence)
    return inventory


def _config_map(namespace: str, inventory: Inventory) -> Manifest:
    made: Manifest = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": inventory.owner.name,
            "namespace": namespace,
            "labels": {"tidegate.dev/inventory": "true"},
        },
        "data": {KEY: inventory.to_text()},
    }
    return stamped(made, inventory.owner)
