"""Ledger records in the words of the story."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tidegate.domain.records import Kind, Record
from tidegate.domain.rollout import WHOLE

GOOD, BAD, PLAIN = "green", "red", ""


def told(record: Record) -> tuple[str, str, str]:
    """Where it happened, what happened, and the colour to say it in."""
    data = record.data
    match record.kind:
        case Kind.Release:
            return "integrate", f"release {record.release}: {evidence(data)}", PLAIN
        case Kind.Refused:
            return "integrate", f"no release: {record.message}", BAD
        case Kind.Promotion:
            commit = str(data.get("commit", ""))[:7]
            return record.stage, f"promoted: commit {commit} in fleet names the new image", PLAIN
        case Kind.Shift:
            if data.get("weight") == WHOLE:
                return (
                    record.stage,
                    "up and verified; with nothing to compare, its own numbers judge it",
                    PLAIN,
                )
            return record.stage, f"canary at {data.get('weight')} % of the pods", PLAIN
        case Kind.Sync:
            seconds = f" in {data['seconds']:g} s" if "seconds" in data else ""
            return record.stage, f"{record.release} is live, healthy and verified{seconds}", GOOD
        case Kind.Verdict:
            passed = data.get("outcome") == "Successful"
            return record.stage, f"gate {data.get('outcome')}: {record.message}", GOOD if passed else BAD
        case Kind.Hold:
            return record.stage, f"held: {record.release} is not tried again, a newer release is", BAD
        case Kind.Rollback:
            return record.stage, f"rolled back to {data.get('restored', 'the last good release')}", BAD
        case Kind.Approval:
            return record.stage, record.message, PLAIN


def evidence(data: Mapping[str, Any]) -> str:
    """`ruff ok · tests ok: 21 passed · image digits@sha256:1a2b3c4d5e6f`"""
    found = [f"{e['step']} {'ok' if e['passed'] else 'failed'}" for e in data.get("evidence", ())]
    images = [
        f"image {image['name'].rpartition('/')[2]}@{image['digest'][:19]}" for image in data.get("images", ())
    ]
    return " · ".join([*found, *images])
