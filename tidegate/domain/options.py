"""What an object's annotations ask of a sync: its wave, whether it is a hook, how it may be pruned or replaced.

The words are Argo CD's, read as Argo CD reads them (`gitops-engine/pkg/sync/{hook,syncwaves,common}`), so that its
repositories work as they are: under `argocd.argoproj.io/` and, stronger, under `tidegate.dev/`; Helm's hooks by their
own annotations, where no other ones are there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any

Manifest = dict[str, Any]

_PREFIXES = ("tidegate.dev/", "argocd.argoproj.io/")
_HELM_HOOK, _HELM_WEIGHT, _HELM_DELETE = (
    "helm.sh/hook",
    "helm.sh/hook-weight",
    "helm.sh/hook-delete-policy",
)
CONFIRMED = "tidegate.dev/prune"
"""Annotation by which a person lets an object go that asked for it: `confirmed`."""


class Phase(IntEnum):
    """Part of a sync, in the order in which they run; `SyncFail` only when one before it fails."""

    PreSync = -1
    Sync = 0
    PostSync = 1
    SyncFail = 2


class DeletePolicy(StrEnum):
    """When a hook is deleted."""

    BeforeHookCreation = "BeforeHookCreation"
    HookSucceeded = "HookSucceeded"
    HookFailed = "HookFailed"


class Conflicts(StrEnum):
    """What happens to a field that another manager has set to something else than Git."""

    Force = "force"
    """It becomes ours; the plan says whose value goes."""
    Fail = "fail"
    """The plan is refused."""
    Yield = "yield"
    """It stays theirs and is not sent."""


_HELM_PHASES = {
    "pre-install": Phase.PreSync,
    "pre-upgrade": Phase.PreSync,
    "post-install": Phase.PostSync,
    "post-upgrade": Phase.PostSync,
}
_HELM_POLICIES = {
    "before-hook-creation": DeletePolicy.BeforeHookCreation,
    "hook-succeeded": DeletePolicy.HookSucceeded,
    "hook-failed": DeletePolicy.HookFailed,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What one object asks for."""

    wave: int = 0
    """Lower goes first; negative ones are allowed."""
    is_hook: bool = False
    """True also for a hook of a phase that nobody knows: it never runs."""
    phases: tuple[Phase, ...] = ()
    """When a hook runs; empty for what is none."""
    is_skipped: bool = False
    """`hook: Skip`, alone: neither applied nor run."""
    delete: frozenset[DeletePolicy] = frozenset()
    """When a hook goes; empty for what is none."""
    sync: frozenset[str] = frozenset()
    """`sync-options`, like `Prune=false`."""
    conflicts: Conflicts | None = None
    """None: as the target has it."""

    @property
    def may_replace(self) -> bool:
        """Whether it may be deleted and made again when the API server refuses to change it."""
        return bool({"Replace=true", "Force=true"} & self.sync)

    @property
    def is_pruned_last(self) -> bool:
        """Whether it is pruned after everything else."""
        return "PruneLast=true" in self.sync


def options(manifest: Manifest) -> Options:
    """What the annotations of an object ask for; words nobody knows are ignored, as Argo CD does."""
    notes: Mapping[str, str] = (manifest.get("metadata") or {}).get("annotations") or {}
    hooks = _words(_ours(notes, "hook"))
    helm = _words(notes.get(_HELM_HOOK, ""))
    is_helm = bool(helm) and helm != ["crd-install"]
    own = [Phase[word] for word in hooks if word in Phase.__members__]
    skips = hooks == ["Skip"]
    phases = own or _known(helm, _HELM_PHASES)
    is_hook = (bool(hooks) or is_helm) and not skips
    return Options(
        wave=_wave(_ours(notes, "sync-wave") or notes.get(_HELM_WEIGHT, "")),
        is_hook=is_hook,
        phases=tuple(sorted(set(phases))) if is_hook else (),
        is_skipped=skips,
        delete=_policies(notes) if is_hook else frozenset(),
        sync=frozenset(_words(_ours(notes, "sync-options"))),
        conflicts=_conflicts(notes),
    )


def _ours(notes: Mapping[str, str], name: str) -> str:
    return next((notes[prefix + name] or "" for prefix in _PREFIXES if prefix + name in notes), "")


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _known(words: list[str], table: Mapping[str, Any]) -> list[Any]:
    return [table[word] for word in words if word in table]


def _wave(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        return 0


def _conflicts(notes: Mapping[str, str]) -> Conflicts | None:
    said = notes.get("tidegate.dev/conflicts")
    return Conflicts(said) if said in set(Conflicts) else None


def _policies(notes: Mapping[str, str]) -> frozenset[DeletePolicy]:
    own = [DeletePolicy(w) for w in _words(_ours(notes, "hook-delete-policy")) if w in set(DeletePolicy)]
    found = [*own, *_known(_words(notes.get(_HELM_DELETE, "")), _HELM_POLICIES)]
    return frozenset(found or [DeletePolicy.BeforeHookCreation])


def split(manifests: list[Manifest]) -> tuple[list[Manifest], list[Manifest]]:
    """(what is applied and kept, hooks), each in the order given; what asks to be skipped is in neither."""
    asked = [(m, options(m)) for m in manifests]
    kept = [m for m, o in asked if not o.is_hook and not o.is_skipped]
    return kept, [m for m, o in asked if o.is_hook]


def asks_to_stay(notes: Mapping[str, str]) -> str:
    """Why an object with these annotations must not be pruned, in words; empty when it may."""
    if notes.get(CONFIRMED) == "false":
        return f"it is annotated {CONFIRMED}: false"
    words = _words(_ours(notes, "sync-options"))
    if "Prune=false" in words:
        return "it is annotated with sync-options: Prune=false"
    if "Prune=confirm" in words and notes.get(CONFIRMED) != "confirmed":
        return f"it asks for confirmation; annotate it {CONFIRMED}=confirmed to let it go"
    return ""
