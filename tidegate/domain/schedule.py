"""A sync as a sequence of steps: PreSync hooks, the waves, PostSync hooks; and in reverse what is pruned.

As in Argo CD (`gitops-engine/pkg/sync`): a step begins when everything of the one before is healthy. What has one
wave and no hooks is one step, done once it is applied.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeVar

from tidegate.domain import order
from tidegate.domain.manifests import Manifest, Ref, ref
from tidegate.domain.options import DeletePolicy, Options, Phase, options

EVERY_PHASE = frozenset(Phase)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hook:
    """One run of one hook."""

    manifest: Manifest
    phase: Phase
    wave: int
    delete: frozenset[DeletePolicy]

    @property
    def ref(self) -> Ref:
        """Its name in the cluster."""
        return ref(self.manifest)

    @property
    def run(self) -> str:
        """What this run is called in the record of the sync: `PreSync batch/v1 Job shop/migrate`."""
        return f"{self.phase.name} {self.ref.api_version} {self.ref}"

    def __str__(self) -> str:
        return f"{self.phase.name} hook {self.ref}"


@dataclass(frozen=True, slots=True)
class Hooks:
    """The hooks of one sync."""

    sync: str
    """What the sync is known by: one that is begun again under the same name goes on, and repeats no hook."""
    manifests: tuple[Manifest, ...]
    """All hooks of the rendered set; what was one before and is not among them is pruned."""
    phases: frozenset[Phase] = EVERY_PHASE
    """The phases that belong to this sync; a canary has PreSync alone, the rest comes with the end of its rollout."""

    def runs(self) -> tuple[Hook, ...]:
        """The runs of this sync in their order."""
        asked = [(m, options(m)) for m in self.manifests]
        made = [_hook(m, o, phase) for m, o in asked for phase in o.phases if phase in self.phases]
        return tuple(sorted(made, key=lambda h: (h.phase, h.wave, order.key(h.ref))))


def _hook(manifest: Manifest, asked: Options, phase: Phase) -> Hook:
    return Hook(manifest, phase, asked.wave, asked.delete)


@dataclass(frozen=True, slots=True)
class Step:
    """What goes together, kind by kind."""

    phase: Phase
    wave: int
    stage: order.Stage
    items: tuple[tuple[Ref, Manifest | Hook], ...]
    """Objects to have, and hooks to run."""

    @property
    def is_wave(self) -> bool:
        """Whether what follows waits for its health; definitions are only waited for as far as they must be."""
        return self.stage is order.Stage.Rest

    @property
    def name(self) -> str:
        """For people: `definitions`, `PreSync`, `wave -5`, `PostSync wave 2`."""
        if self.stage is not order.Stage.Rest:
            return self.stage.name.lower()
        if self.phase is Phase.Sync:
            return f"wave {self.wave}"
        return f"{self.phase.name} wave {self.wave}" if self.wave else self.phase.name

    def groups(self) -> list[Sequence[tuple[Ref, Manifest | Hook]]]:
        """The items by kind, in the order of applying."""
        return order.by_kind((name, (name, item)) for name, item in self.items)


def steps(desired: Iterable[Manifest], hooks: Iterable[Hook]) -> list[Step]:
    """The steps of a sync in their order, SyncFail last; `desired` are no hooks."""
    found: list[tuple[order.Stage, Phase, int, Ref, Manifest | Hook]] = []
    for manifest in desired:
        name = ref(manifest)
        stage = order.stage(name)
        wave = options(manifest).wave if stage is order.Stage.Rest else 0
        # definitions and classes come before the hooks of PreSync, which may need them
        found.append((stage, Phase.Sync, wave, name, manifest))
    found += [(order.Stage.Rest, hook.phase, hook.wave, hook.ref, hook) for hook in hooks]
    found.sort(key=lambda item: (*item[:3], order.key(item[3])))
    return [
        Step(phase, wave, stage, tuple((name, item) for *_, name, item in group))
        for (stage, phase, wave), group in groupby(found, key=lambda item: item[:3])
    ]


def pruning(unwanted: Iterable[tuple[Manifest, T]]) -> list[list[Sequence[T]]]:
    """What is pruned, wave by wave from the last to the first, inside a wave by kind in reverse.

    Objects that ask to be pruned last come after all waves.
    """
    asked = [(options(m), ref(m), item) for m, item in unwanted]
    waves: dict[tuple[bool, int], list[tuple[Ref, T]]] = {}
    for o, name, item in asked:
        waves.setdefault((o.is_pruned_last, 0 if o.is_pruned_last else -o.wave), []).append((name, item))
    return [list(reversed(order.by_kind(waves[at]))) for at in sorted(waves)]
