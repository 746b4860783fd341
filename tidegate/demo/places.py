"""Where the demo keeps its things: one folder, thrown away at the next start, and one that stays."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TEMPLATES = ROOT / "infra" / "demo"
PROMETHEUS_TEMPLATE = ROOT / "infra" / "prometheus" / "prometheus.yml"


@dataclass(frozen=True, slots=True)
class Places:
    """Folders and files below `TIDEGATE_HOME`."""

    state: Path
    """`TIDEGATE_HOME` as the user has it."""

    @property
    def home(self) -> Path:
        """`TIDEGATE_HOME` of everything in the demo."""
        return self.state / "demo"

    @property
    def kept(self) -> Path:
        """What a later demo starts faster with; safe to delete."""
        return self.state / "cache"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.home / "logs"

    @property
    def bare(self) -> Path:
        """What the Git server serves."""
        return self.home / "git"

    @property
    def work(self) -> Path:
        """Clones to work in: `digits`, `fleet`."""
        return self.home / "work"

    @property
    def digits(self) -> Path:
        """The developer's clone of the source repository."""
        return self.work / "digits"

    @property
    def fleet(self) -> Path:
        """A clone of the config repository; the specs in it are `TIDEGATE_FLEET`."""
        return self.work / "fleet"

    @property
    def cluster(self) -> Path:
        """State of the embedded cluster."""
        return self.home / "cluster"

    @property
    def prometheus(self) -> Path:
        """Configuration and samples of Prometheus."""
        return self.home / "prometheus"

    @property
    def answers(self) -> Path:
        """What the visitors got, one JSON line each."""
        return self.home / "answers.jsonl"

    @property
    def images(self) -> Path:
        """The digits that visitors send."""
        return TEMPLATES / "digits" / "data" / "digits.csv.gz"

    @property
    def env_file(self) -> Path:
        """What to source in another terminal."""
        return self.home / "env"

    def clear(self) -> None:
        """An empty folder for a new story."""
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(parents=True)
