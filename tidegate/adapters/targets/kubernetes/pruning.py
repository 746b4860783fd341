"""Delete what left the rendered set: last wave first, custom resources before what they stand on, each by its uid."""

from __future__ import annotations

import time
from collections.abc import Callable

from tidegate.adapters.targets.kubernetes.objects import Objects, each
from tidegate.adapters.targets.kubernetes.rest import is_outside
from tidegate.domain import schedule
from tidegate.domain.manifests import Ref
from tidegate.domain.plan import Action, Change, Plan
from tidegate.errors import OutsideError

_GONE_SECONDS, _POLL_SECONDS = 20.0, 0.1


def prune(objects: Objects, plan: Plan, fence: Callable[[], None]) -> tuple[dict[Ref, bool], list[str]]:
    """Refs with True when they are gone, False while something (a finalizer, a slow pod) holds them; and problems.

    A wave with a problem is the last one.
    """
    unwanted = [(c.live or {}, c) for c in plan.changes if c.action is Action.Prune]
    pruned: dict[Ref, bool] = {}
    problems: list[str] = []
    for wave in schedule.pruning(unwanted):
        for kind in wave:
            for change, error in zip(kind, each(lambda c: _prune(objects, c, fence), kind), strict=True):
                if error is None:
                    pruned[change.ref] = False
                else:
                    problems.append(str(error))
            pruned |= {c.ref: await_gone(objects, c.ref) for c in kind if c.ref in pruned}
        if problems:
            break
    return pruned, problems


def _prune(objects: Objects, change: Change, fence: Callable[[], None]) -> OutsideError | None:
    uid = ((change.live or {}).get("metadata") or {}).get("uid") or ""
    try:
        objects.delete(change.ref, uid=uid, fence=fence)
    except OutsideError as error:
        if is_outside(error):
            return error
        raise
    return None


def await_gone(objects: Objects, name: Ref, seconds: float = _GONE_SECONDS) -> bool:
    """Whether it is gone, after waiting a while for that."""
    end = time.monotonic() + seconds
    while name in objects.read([name]):
        if time.monotonic() > end:
            return False
        time.sleep(_POLL_SECONDS)
    return True
