"""The inventory's ConfigMap: read, and written only when its text changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from tidegate.adapters.targets.kubernetes.objects import Objects
from tidegate.domain.inventory import Entry, Inventory
from tidegate.domain.manifests import Manifest, Ref, ref
from tidegate.domain.tracking import APP_LABEL, Owner, stamped, tracked_by
from tidegate.errors import NotFound, Rejected


def read_inventory(objects: Objects, owner: Owner) -> Inventory | None:
    """What the stage has in the cluster; None without a record of it. Raises `Rejected` when it is not ours."""
    name = _name(objects, owner)
    live = objects.read([name]).get(name)
    if live is None:
        return None
    other = tracked_by(live)
    if other != str(owner):
        raise Rejected(
            f"inventory {name}: belongs to {other or 'nobody we know'}, not to {owner}; rename the stage"
        )
    try:
        return Inventory.from_data(owner, live.get("data") or {})
    except ValueError as error:
        raise Rejected(
            f"inventory {name}: cannot be read; restore it or delete it, then objects are kept"
        ) from error


def recover_inventory(objects: Objects, owner: Owner, kinds: Iterable[Ref]) -> Inventory:
    """The inventory as the objects' own annotations tell it: of the kinds given, in the target's namespace.

    A kind that may not be listed is left out: what is not known is not pruned.
    """
    entries: dict[Ref, Entry] = {}
    for kind in {(k.api_version, k.kind) for k in kinds if objects.namespace_of(k)}:
        try:
            found = objects.list(*kind, labels={APP_LABEL: owner.label})
        except (Rejected, NotFound):
            continue
        for live in found:
            if tracked_by(live) == str(owner):
                entries[ref(live)] = Entry(ref(live), "-", live["metadata"]["uid"])
    entries.pop(_name(objects, owner), None)
    return Inventory(owner, entries, is_stored=False)


def _name(objects: Objects, owner: Owner) -> Ref:
    return Ref("", "ConfigMap", objects.namespace, owner.name, version="v1")


def write_inventory(
    objects: Objects, inventory: Inventory, before: Inventory, *, fence: Callable[[], None]
) -> Inventory:
    """Make the ConfigMap say `inventory`; nothing is sent when it already does."""
    if not before.is_stored or inventory.data() != before.data():
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
        "data": inventory.data(),
    }
    return stamped(made, inventory.owner)
