"""Numbers of the ratio rule that the sentences quote too; `docs/gate.md` says where they stand in it."""

from __future__ import annotations

REFUTED = 20.0
"""The e-value at which a ratio is refuted with 95 % confidence; also what a canary needs to pass."""
DEFAULT_FLOOR = 1e-4
"""Share of bad events the canary must exceed to fail, where the check names none."""
