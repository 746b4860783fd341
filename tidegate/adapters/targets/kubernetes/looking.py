"""Look: inventory, live objects, and a dry-run of whatever is not certainly unchanged. Nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tidegate.adapters.targets.kubernetes.inventories import read_inventory, recover_inventory
from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.domain.compare import certainly_unchanged
from tidegate.domain.inventory import Inventory
from tidegate.domain.manifests import Manifest, Ref, is_masked, normal, ref, unique
from tidegate.domain.plan import Owner, Plan, Refusal, plan
from tidegate.domain.tracking import stamped, tracked_by
from tidegate.errors import Conflict, NotFound, Rejected

CRD = "CustomResourceDefinition"


def look(
    objects: Objects,
    owner: Owner,
    desired: Sequence[Manifest],
    *,
    allow_empty: bool = False,
    makes_namespace: bool = False,
) -> Plan:
    """What applying `desired` would do, as a plan."""
    for manifest in desired:
        if manifest.get("kind") == CRD:
            objects.kinds.announce(manifest)
    ours = [stamped(normal(objects.placed(m)), owner) for m in desired]
    unique((m, "the rendered set") for m in ours)
    inventory = read_inventory(objects, owner) or recover_inventory(objects, owner, map(ref, ours))
    named = {ref(m): m for m in ours}
    live = objects.read({**named, **inventory.entries})
    unchanged = {n for n, m in named.items() if certainly_unchanged(m, live.get(n), inventory.entries.get(n))}
    asked = [m for n, m in named.items() if n not in unchanged and _may_ask(m, live.get(n), inventory)]
    coming = {ref(m).name for m in ours if m["kind"] == "Namespace"} | (
        {objects.namespace} if makes_namespace else set()
    )
    answers = _dry_runs(objects, asked, live, coming)
    return plan(ours, live, answers, inventory, unchanged=unchanged, allow_empty=allow_empty)


def _may_ask(desired: Manifest, live: Manifest | None, inventory: Inventory) -> bool:
    other = tracked_by(live)
    return not is_masked(desired) and other in (None, str(inventory.owner))


def _dry_runs(
    objects: Objects, asked: Sequence[Manifest], live: Mapping[Ref, Manifest], coming: set[str]
) -> dict[Ref, Manifest | Refusal]:
    """The API server's answers, without what it cannot know yet: its namespace or CRD is part of the set."""

    awaited = {namespace for namespace in coming if not _exists(objects, namespace)} if asked else set()

    def possible(manifest: Manifest) -> bool:
        name = ref(manifest)
        gone = (live.get(name) or {}).get("metadata", {}).get("deletionTimestamp")
        return not gone and name.namespace not in awaited and objects.kinds.is_served(name)

    able = [m for m in asked if possible(m)]
    return {
        ref(m): answer for m, answer in zip(able, each(lambda m: _dry_run(objects, m), able), strict=True)
    }


def _exists(objects: Objects, namespace: str) -> bool:
    name = Ref("", "Namespace", "", namespace, version="v1")
    try:
        return name in objects.read([name])
    except Rejected:
        return True  # who may not look at namespaces hears from the server if it is missing


def _dry_run(objects: Objects, manifest: Manifest) -> Manifest | Refusal:
    try:
        return objects.apply(manifest, dry_run=True)
    except NotFound as error:
        namespace = ref(manifest).namespace
        if namespace and not _exists(objects, namespace):
            return Refusal(
                f"namespace {namespace} is not there; put a Namespace into the manifests, create it, "
                "or set create_namespace on the target"
            )
        return Refusal(_without_subject(error, manifest))
    except (Rejected, Conflict) as error:
        return Refusal(_without_subject(error, manifest))


def _without_subject(error: Exception, manifest: Manifest) -> str:
    words = str(error).removeprefix(f"{ref(manifest)}: ")
    return f"{words}; delete the object by hand, or give it a new name" if "immutable" in words else words
