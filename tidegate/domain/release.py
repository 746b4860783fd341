"""A release: the immutable thing that moves from stage to stage. Built once, promoted, never rebuilt."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Image:
    """A container image by content: `registry.example/shop` at `sha256:…`."""

    name: str
    digest: str

    def __str__(self) -> str:
        return f"{self.name}@{self.digest}"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one step of `integrate` found: the auditor or test run, its answer and its sentence."""

    step: str
    passed: bool
    message: str
    details: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Release:
    """Revision + images by digest + evidence."""

    app: str
    revision: str
    """Full commit id in the source repository."""
    height: int
    """Number of commits reachable from `revision`: with one linear branch, larger is newer."""
    images: tuple[Image, ...]
    created: datetime
    subject: str = ""
    """First line of the commit message, for people."""
    evidence: tuple[Evidence, ...] = ()

    @property
    def id(self) -> str:
        """Short, stable, unique: seven characters of the commit and six of the images' digests."""
        digest = hashlib.sha256("\n".join(sorted(map(str, self.images))).encode()).hexdigest()
        return f"{self.revision[:7]}-{digest[:6]}"

    @property
    def order(self) -> tuple[int, datetime]:
        """The total order of releases of one application: by Git ancestry, then by time of building."""
        return (self.height, self.created)
