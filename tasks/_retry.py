"""The one retry rule: an error says itself whether trying again may help."""

from __future__ import annotations

from typing import Any

from prefect.cache_policies import NO_CACHE


def worth_it(task: Any, run: Any, state: Any) -> bool:
    """Whether the task's exception calls itself retryable.

    Reads `state.data`, the exception itself: `state.result()` is a coroutine in async tasks and never true.
    """
    return bool(getattr(state.data, "retryable", False))


once: dict[str, Any] = {"cache_policy": NO_CACHE}
"""For what must not be repeated blindly: its outcome is read back by the next look."""

patient: dict[str, Any] = {
    **once,
    "retries": 3,
    "retry_delay_seconds": [1, 5, 20],
    "retry_condition_fn": worth_it,
}
"""For everything else."""
