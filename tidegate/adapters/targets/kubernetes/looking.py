"""Look: inventory, live objects, and a dry-run of whatever is not certainly unchanged. Nothing is written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import reduce

from tidegate.adapters.targets.kubernetes.inventories import read_inventory, recover_inventory
from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.domain import fields
from tidegate.domain.compare import certainly_unchanged
from tidegate.domain.ignoring import Rule, as_it_is, managers
from tidegate.domain.ignoring import pointers as ignored
from tidegate.domain.inventory import Inventory
from tidegate.domain.manifests import Manifest, Ref, is_masked, normal, ref, unique
from tidegate.domain.options import Conflicts, options
from tidegate.domain.plan import Action, Change, Owner, Plan, Refusal, blocking, plan
from tidegate.domain.schedule import Hook, Hooks
from tidegate.domain.scope import Scope
from tidegate.domain.tracking import stamped, tracked_by
from tidegate.errors import Conflict, NotFound, Rejected

CRD = "CustomResourceDefinition"
_FIXED = re.compile(
    r"immutable|may not change once set|cannot change roleRef"
    r"|updates to statefulset spec for fields other than|spec is forbidden after creation"
)
"""How the API server says that only a new object can have these values (validation texts of Kubernetes 1.36)."""


def look(
    objects: Objects,
    owner: Owner,
    desired: Sequence[Manifest],
    *,
    hooks: Hooks | None = None,
    conflicts: Conflicts = Conflicts.Force,
    scope: Scope | None = None,
    ignore: Sequence[Rule] = (),
    allow_empty: bool = False,
    max_prune: int = 100,
    makes_namespace: bool = False,
) -> Plan:
    """What applying `desired` and running `hooks` would do, as a plan."""
    for manifest in desired:
        if manifest.get("kind") == CRD:
            objects.kinds.announce(manifest)
    ours = [stamped(normal(objects.placed(m)), owner) for m in desired]
    hooks = _placed(objects, owner, hooks)
    run = hooks.manifests if hooks else ()
    unique((m, "the rendered set") for m in (*ours, *run))
    forbidden = [(ref(m), scope.forbids(ref(m), objects.namespace)) for m in (*ours, *run)] if scope else []
    if any(why for _, why in forbidden):
        return Plan(tuple(blocking(name, why) for name, why in forbidden if why))
    inventory = read_inventory(objects, owner) or recover_inventory(objects, owner, map(ref, ours))
    live = objects.read(dict.fromkeys([*map(ref, ours), *map(ref, run), *inventory.entries]))
    ours = [_with_ignored(m, live.get(ref(m)), ignore) for m in ours]
    named = {ref(m): m for m in ours}
    unchanged = {n for n, m in named.items() if certainly_unchanged(m, live.get(n), inventory.entries.get(n))}
    asked = [m for n, m in named.items() if n not in unchanged and _may_ask(m, live.get(n), inventory)]
    coming = {ref(m).name for m in ours if m["kind"] == "Namespace"} | (
        {objects.namespace} if makes_namespace else set()
    )
    answers = _dry_runs(objects, asked, live, coming)
    given = {
        name: made
        for name, m in ((ref(m), m) for m in asked)
        if (whose := _strong(m, conflicts, ignore))
        and (made := _yielded(m, live.get(name), answers.get(name), whose))
    }
    answers |= _dry_runs(objects, list(given.values()), live, coming)
    found = plan(
        [given.get(ref(m), m) for m in ours],
        live,
        answers,
        inventory,
        hooks=hooks,
        unchanged=unchanged,
        conflicts=conflicts,
        allow_empty=allow_empty,
        max_prune=max_prune,
    )
    if scope is not None:
        found = replace(found, changes=tuple(_spared(c, scope, objects.namespace) for c in found.changes))
    refused = _refused_hooks(objects, found.pending_hooks, live, inventory, coming)
    return replace(found, changes=(*found.changes, *refused)) if refused else found


def _with_ignored(desired: Manifest, live: Manifest | None, rules: Sequence[Rule]) -> Manifest:
    return as_it_is(desired, live, ignored(rules, ref(desired))) if live is not None and rules else desired


def _strong(desired: Manifest, conflicts: Conflicts, rules: Sequence[Rule]) -> list[str]:
    """Patterns of the managers whose values beat ours."""
    yields = (options(desired).conflicts or conflicts) is Conflicts.Yield
    return ["*"] if yields else managers(rules, ref(desired))


def _yielded(
    desired: Manifest,
    live: Manifest | None,
    predicted: Manifest | Refusal | None,
    whose: Sequence[str],
) -> Manifest | None:
    """The manifest without what these managers have set to something else; None when there is no such thing."""
    if live is None or predicted is None or isinstance(predicted, Refusal):
        return None
    clashes = fields.clashes(live, predicted)
    theirs = [c.fields for c in clashes if any(fnmatchcase(c.manager, pattern) for pattern in whose)]
    if not theirs:
        return None
    made: Manifest = fields.without(desired, reduce(fields.joined, theirs))
    return made


def _placed(objects: Objects, owner: Owner, hooks: Hooks | None) -> Hooks | None:
    if hooks is None:
        return None
    return replace(hooks, manifests=tuple(stamped(normal(objects.placed(m)), owner) for m in hooks.manifests))


def _spared(change: Change, scope: Scope, home: str) -> Change:
    """A prune of what the stage may no longer touch is left to a person."""
    why = scope.forbids(change.ref, home) if change.action is Action.Prune else ""
    return replace(change, action=Action.Refused, reason=f"not pruned: {why}") if why else change


def _refused_hooks(
    objects: Objects,
    hooks: Sequence[Hook],
    live: Mapping[Ref, Manifest],
    inventory: Inventory,
    coming: set[str],
) -> list[Change]:
    """Hooks that the API server would not make, found out before the first write: dry-run under another name."""
    found = []
    asked = {h.ref: h.manifest for h in hooks}
    for name in list(asked):
        other = tracked_by(live.get(name))
        if other not in (None, str(inventory.owner)):
            found.append(blocking(name, f"belongs to {other}; remove it there or rename it here"))
            del asked[name]
    awaited = {n for n in coming if not _exists(objects, n)} if asked else set()
    able = [m for n, m in asked.items() if n.namespace not in awaited and objects.kinds.is_served(n)]
    answers = each(lambda m: _dry_create(objects, m), able)
    return found + [blocking(ref(m), no) for m, no in zip(able, answers, strict=True) if no]


def _dry_create(objects: Objects, manifest: Manifest) -> str:
    """Why an object like this one could not be made now; empty when it could."""
    try:
        objects.create(manifest, dry_run=True)
    except (Rejected, Conflict, NotFound) as error:
        return str(error).removeprefix(f"{ref(manifest)}: ")
    return ""


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
        return _refusal(objects, manifest, _without_subject(error, manifest))


def _refusal(objects: Objects, manifest: Manifest, words: str) -> Refusal:
    if not _FIXED.search(words):
        return Refusal(words)
    if not options(manifest).may_replace:
        return Refusal(
            f"{words}; delete the object by hand, give it a new name, or annotate it sync-options: Replace=true"
        )
    why = _dry_create(objects, manifest)
    if why:
        return Refusal(f"{words}; and it could not be made anew: {why}")
    return Refusal(words, is_replaceable=True)


def _without_subject(error: Exception, manifest: Manifest) -> str:
    return str(error).removeprefix(f"{ref(manifest)}: ")
