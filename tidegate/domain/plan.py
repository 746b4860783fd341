"""Every change to a cluster first exists here, as a value that can be printed, tested and refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from tidegate.domain import compare, diffs, fields, order
from tidegate.domain.inventory import Entry, Inventory, Progress, entry
from tidegate.domain.manifests import Manifest, Ref, is_masked, ref
from tidegate.domain.options import Conflicts, Phase, asks_to_stay, options
from tidegate.domain.schedule import Hook, Hooks
from tidegate.domain.tracking import Owner, annotations_of, tracked_by

__all__ = ["Action", "Change", "Owner", "Plan", "Refusal", "SyncResult", "blocking", "plan"]

_NEVER_PRUNED = {
    ("", "Namespace"),
    ("", "PersistentVolume"),
    ("", "PersistentVolumeClaim"),
    ("apiextensions.k8s.io", "CustomResourceDefinition"),
}


class Action(StrEnum):
    """What will be done to one object."""

    Create = "create"
    Update = "update"
    Replace = "replace"
    """Deleted and made again: it asks for that, and the API server refuses the change otherwise."""
    Prune = "prune"
    Unchanged = "unchanged"
    Refused = "refused"


_FEW = 10
"""A set of fewer objects may change as a whole."""
_NOTHING_RENDERED = (
    "nothing was rendered, pruning would remove everything; set max_prune: 100 on the target if that is meant"
)
_SIGNS = {
    Action.Create: "+",
    Action.Update: "~",
    Action.Replace: "±",
    Action.Prune: "-",
    Action.Unchanged: "=",
    Action.Refused: "!",
}
_WRITES = (Action.Create, Action.Update, Action.Replace, Action.Prune)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The API server's answer to a dry-run it would not accept, in its own words."""

    reason: str
    is_replaceable: bool = False
    """Whether only what it is now stands against it: it asks to be replaced then, and could be made anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """What will happen to one object, and why."""

    ref: Ref
    action: Action
    desired: Manifest | None = None
    live: Manifest | None = None
    predicted: Manifest | None = None
    """The object after the apply, as the API server's dry-run answered."""
    reason: str = ""
    takes_over: bool = False
    """Whether what people's hands have set becomes ours first, so that the apply decides about it."""
    blocks: bool = False
    """True for a refusal that must stop the whole plan; a refused prune only leaves one object alone."""

    def diff(self) -> str:
        """Unified diff of the fields we own, secrets masked, at most 300 lines; may be empty."""
        if self.action not in _WRITES:
            return ""
        return diffs.unified(str(self.ref), *_sides(self))


@dataclass(frozen=True, slots=True)
class Plan:
    """All changes of one stage, in the order of applying."""

    changes: tuple[Change, ...]
    inventory: Inventory | None = None
    """What the stage had in the cluster when we looked."""
    hooks: Hooks | None = None
    """The hooks that run with it; None for a sync that leaves hooks alone."""
    spared: frozenset[Ref] = frozenset()
    """Hooks in the cluster that this sync leaves alone; they stay ours."""

    @property
    def pending_hooks(self) -> tuple[Hook, ...]:
        """Hooks that have not done their work in this sync yet, in their order; those of `SyncFail` are none."""
        if self.hooks is None:
            return ()
        done = self._progress(self.hooks).done
        return tuple(h for h in self.hooks.runs() if h.phase is not Phase.SyncFail and h.run not in done)

    def _progress(self, hooks: Hooks) -> Progress:
        return (self.inventory.progress if self.inventory else Progress()).of(hooks.sync)

    @property
    def acts(self) -> bool:
        """Whether applying it does anything, be it to end what an interrupted sync has left."""
        begun = self.hooks is not None and not self._progress(self.hooks).is_finished
        return bool(self.writes or self.pending_hooks or begun)

    @property
    def writes(self) -> tuple[Change, ...]:
        """Changes that write to the cluster; empty when all is as it should be."""
        return tuple(c for c in self.changes if c.action in _WRITES)

    @property
    def drift(self) -> tuple[str, ...]:
        """For a set that was live before: what is not as it was left, and who did it; a sentence per object."""
        return tuple(_drifted(c) for c in self.writes)

    @property
    def refusals(self) -> tuple[str, ...]:
        """Sentences that forbid applying any of it; empty for a plan that may be applied."""
        return tuple(f"{c.ref}: {c.reason}" for c in self.changes if c.blocks)

    def summary(self) -> str:
        """`1 to create, 2 to update, 5 unchanged`; says when nothing is to do."""
        if not self.changes and not self.hooks:
            return "nothing to do: no objects"
        counts = Counter(_word(c) for c in self.changes)
        hooks = [_hooks(len(self.pending_hooks))] if self.pending_hooks else []
        if not self.acts and not self.refusals:
            kept = [f"{counts['left alone']} left alone"] if counts["left alone"] else []
            parts = [f"nothing to do: {_objects(counts['unchanged'])} as desired", *kept]
        else:
            parts = [f"{counts[word]} {word}" for word in _WORDS if counts[word]] + hooks
        return ", ".join(parts)

    def text(self) -> str:
        """For eyes: the summary, then a line per object with reason and diff; the unchanged are counted."""
        shown = [c for c in self.changes if c.action is not Action.Unchanged or c.reason]
        hooks = [f"> {hook}" for hook in self.pending_hooks]
        return "\n".join([self.summary(), *(_told(c) for c in shown), *hooks]) + "\n"

    def to_json(self) -> dict[str, Any]:
        """For machines: JSON-ready, secrets masked; `changes` in the order of applying."""
        return {
            "summary": self.summary(),
            "writes": len(self.writes),
            "refused": list(self.refusals),
            "changes": [
                {
                    "group": c.ref.group,
                    "version": c.ref.version,
                    "kind": c.ref.kind,
                    "namespace": c.ref.namespace,
                    "name": c.ref.name,
                    "action": c.action.value,
                    "reason": c.reason,
                    "diff": c.diff(),
                }
                for c in self.changes
            ],
            "hooks": [
                {"phase": h.phase.name, "wave": h.wave, "kind": h.ref.kind, "name": h.ref.name}
                for h in self.pending_hooks
            ],
        }

    def entries(self) -> Iterator[Entry]:
        """Inventory entries of all desired objects and hooks; of a masked Secret the entry it had."""
        old = self.inventory.entries if self.inventory else {}
        yield from map(entry, self.hooks.manifests if self.hooks else ())
        for c in self.changes:
            if c.desired is None:
                continue
            made = entry(c.desired, c.live)
            yield replace(old.get(c.ref, made), uid=made.uid) if is_masked(c.desired) else made

    def kept(self) -> frozenset[Ref]:
        """Objects outside the desired set that stay ours: not pruned by a guard, or still being deleted."""
        owner = str(self.inventory.owner) if self.inventory else None
        return self.spared | frozenset(
            c.ref
            for c in self.changes
            if c.desired is None and c.action is not Action.Prune and tracked_by(c.live) == owner
        )


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What an apply did."""

    applied: tuple[Ref, ...] = ()
    pruned: tuple[Ref, ...] = ()
    unchanged: tuple[Ref, ...] = ()
    problems: tuple[str, ...] = ()
    """One sentence per object that could not be applied or pruned; empty when all went well."""
    failure: str = ""
    """Why the sync did not go on after one of its waves or hooks; empty when it did."""
    stopped: str = ""
    """Who called it off between two waves; empty when nobody did."""


def plan(
    desired: Sequence[Manifest],
    live: Mapping[Ref, Manifest],
    predicted: Mapping[Ref, Manifest | Refusal],
    inventory: Inventory,
    *,
    hooks: Hooks | None = None,
    unchanged: Set[Ref] = frozenset(),
    conflicts: Conflicts = Conflicts.Force,
    allow_empty: bool = False,
    max_prune: int = 100,
) -> Plan:
    """What to do so that `live` becomes `desired`.

    `desired` carries our tracking annotation; `live` holds what exists of the desired and the inventoried
    objects; `predicted` the dry-run answers for those not certainly unchanged, `unchanged` the names of those that
    are, as far as that is known already. Without `hooks` those in the cluster are left alone. Guards: an object
    tracked by somebody else is refused; Namespaces, CRDs, volumes and objects that ask for it are never pruned, nor
    is everything at once, unless `allow_empty`, or more than `max_prune` percent of ten objects or more.
    """
    names = [ref(m) for m in desired]
    asked = {ref(m): options(m) for m in desired}
    changes = [
        _clashing(
            _wanted(name, m, live.get(name), predicted.get(name), inventory, certain=name in unchanged),
            asked[name].conflicts or conflicts,
        )
        for name, m in zip(names, desired, strict=True)
    ]
    wanted = {*names, *(ref(m) for m in (hooks.manifests if hooks else ()))}
    spared = _spared(inventory, live, wanted) if hooks is None else frozenset()
    for name, known in inventory.entries.items():
        if name not in wanted and name in live and name not in spared:
            changes.append(_unwanted(known, live[name], inventory.owner))
    if not desired and not allow_empty:
        changes = [_guarded(c, _NOTHING_RENDERED) for c in changes]
    pruned, there = sum(c.action is Action.Prune for c in changes), len(inventory.entries)
    if there >= _FEW and pruned * 100 > there * max_prune:
        why = f"{pruned} of {there} objects would be pruned, more than {max_prune} %"
        changes = [_guarded(c, f"{why}; raise the target's max_prune if that is meant") for c in changes]

    def place(change: Change) -> tuple[bool, order.Key]:
        wave = asked[change.ref].wave if change.ref in asked else 0
        return change.desired is None, order.key(change.ref, wave)

    return Plan(tuple(sorted(changes, key=place)), inventory, hooks, spared)


def _spared(inventory: Inventory, live: Mapping[Ref, Manifest], wanted: Set[Ref]) -> frozenset[Ref]:
    names = (name for name in inventory.entries if name in live and name not in wanted)
    return frozenset(name for name in names if options(live[name]).is_hook)


def _wanted(
    name: Ref,
    desired: Manifest,
    live: Manifest | None,
    predicted: Manifest | Refusal | None,
    inventory: Inventory,
    *,
    certain: bool,
) -> Change:
    other = tracked_by(live)
    if other is not None and other != str(inventory.owner):
        return _refused(name, desired, live, f"belongs to {other}; remove it there or rename it here")
    if is_masked(desired):
        return _kept_secret(name, desired, live)
    if isinstance(predicted, Refusal):
        if predicted.is_replaceable and (name.group, name.kind) not in _NEVER_PRUNED:
            return Change(name, Action.Replace, desired, live, None, f"made anew: {predicted.reason}")
        return _refused(name, desired, live, predicted.reason)
    if live is None:
        return Change(name, Action.Create, desired, None, predicted)
    if live.get("metadata", {}).get("deletionTimestamp"):
        return Change(name, Action.Create, desired, live, predicted, "created anew once the old one is gone")
    if predicted is None:
        same = certain or compare.certainly_unchanged(desired, live, inventory.entries.get(name))
    else:
        same = not compare.is_drift(live, predicted)
    return Change(name, Action.Unchanged if same else Action.Update, desired, live, predicted)


def _clashing(change: Change, policy: Conflicts) -> Change:
    """What comes of a change where others have a say."""
    live, predicted = change.live, change.predicted
    if change.action not in (Action.Update, Action.Unchanged) or live is None:
        return change
    if predicted is not None and policy is Conflicts.Force and fields.by_hand(live):
        predicted = fields.left_to_us(live, predicted)
        action = Action.Update if compare.is_drift(live, predicted) else change.action
        change = replace(change, action=action, predicted=predicted, takes_over=True)
    if policy is Conflicts.Fail and (found := fields.clashes(live, predicted)):
        return _refused(change.ref, change.desired or {}, live, diffs.clashing(found, live, predicted))
    return replace(change, reason=_what_changes(change)) if change.action is Action.Update else change


def blocking(name: Ref, reason: str) -> Change:
    """What stands against the whole plan, about something that is no part of the desired set: a hook."""
    return Change(name, Action.Refused, reason=reason, blocks=True)


def _refused(name: Ref, desired: Manifest, live: Manifest | None, reason: str) -> Change:
    return Change(name, Action.Refused, desired, live, None, reason, blocks=True)


def _kept_secret(name: Ref, desired: Manifest, live: Manifest | None) -> Change:
    if live is None:
        return _refused(name, desired, live, "is gone, and only digests of it are recorded; render it again")
    return Change(name, Action.Unchanged, desired, live)


def _unwanted(known: Entry, live: Manifest, owner: Owner) -> Change:
    """Prune, or the reason not to. What is not ours any more is said once and then forgotten."""
    meta = live.get("metadata") or {}
    leave = Change(known.ref, Action.Refused, None, live)
    if tracked_by(live) != str(owner):
        return replace(leave, reason=f"left alone: now belongs to {tracked_by(live) or 'nobody we know'}")
    if known.uid and known.uid != meta.get("uid"):
        return replace(leave, reason="left alone: it was deleted and made again by somebody else")
    if meta.get("deletionTimestamp"):
        waits = f", waits for {', '.join(meta['finalizers'])}" if meta.get("finalizers") else ""
        return replace(leave, action=Action.Unchanged, reason=f"is being deleted{waits}")
    if (known.ref.group, known.ref.kind) in _NEVER_PRUNED:
        return replace(leave, reason=f"not pruned: a {known.ref.kind} is only deleted by hand")
    if why := asks_to_stay(annotations_of(live)):
        return replace(leave, reason=f"not pruned: {why}")
    return replace(leave, action=Action.Prune, reason="no longer in the rendered set")


def _guarded(change: Change, why: str) -> Change:
    return (
        replace(change, action=Action.Refused, reason=why, blocks=True)
        if change.action is Action.Prune
        else change
    )


# --- what people read ---------------------------------------------------------------------------------------


def _what_changes(change: Change) -> str:
    before, after = _sides(change)
    paths = list(compare.changed_paths(before, after))
    if paths:
        more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
        whose = ", ".join(_overruled(change))
        return f"{', '.join(paths[:3])}{more}" + (f" (set by {whose})" if whose else "")
    if tracked_by(change.live) is None:
        return "taken over as it is"
    return "fields we do not own, changed by defaults or webhooks"


def _overruled(change: Change) -> list[str]:
    """Managers whose values we force ours upon, each with its last time: no silent overwrite."""
    found = [*fields.clashes(change.live, change.predicted)]
    if change.takes_over:
        found += fields.undone(change.live, change.predicted)
    last: dict[str, str] = {}
    for clash in found:
        last[clash.manager] = max(clash.at, last.get(clash.manager, ""))
    return [f"{manager} at {at}" if at else manager for manager, at in sorted(last.items())]


def _drifted(change: Change) -> str:
    match change.action:
        case Action.Create:
            return f"{change.ref} is missing"
        case Action.Prune:
            return f"{change.ref} is no longer wanted"
        case _:
            return f"{change.ref}: {change.reason}" if change.reason else str(change.ref)


def _sides(change: Change) -> diffs.Sides:
    gone = change.action is Action.Create and change.live is not None
    return diffs.sides(None if gone else change.live, change.desired, change.predicted)


def _told(change: Change) -> str:
    head = f"{_SIGNS[change.action]} {change.ref}" + (f": {change.reason}" if change.reason else "")
    shows = change.action in (Action.Update, Action.Replace)
    body = change.diff().splitlines()[2:] if shows else []
    return "\n".join([head, *(f"    {line}" for line in body)])


_WORDS = ("to create", "to update", "to replace", "to prune", "unchanged", "refused", "left alone")


def _word(change: Change) -> str:
    match change.action:
        case Action.Unchanged:
            return "unchanged"
        case Action.Refused:
            return "refused" if change.blocks else "left alone"
        case _:
            return f"to {change.action.value}"


def _hooks(count: int) -> str:
    return "1 hook to run" if count == 1 else f"{count} hooks to run"


def _objects(count: int) -> str:
    return "1 object is" if count == 1 else f"{count} objects are"
