"""How Tidegate is run: the `TIDEGATE_*` environment. What is delivered is in the fleet, not here."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


def state_folder() -> Path:
    """The XDG state folder for Tidegate (`$XDG_STATE_HOME/tidegate`, else `~/.local/state/tidegate`)."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "tidegate"


class Settings(BaseSettings):
    """Read from the environment once per process; every field has its `TIDEGATE_<NAME>` variable."""

    model_config = SettingsConfigDict(env_prefix="TIDEGATE_", extra="ignore", frozen=True)

    home: Path = Field(default_factory=state_folder)
    """State that may vanish: mirrors, caches, the embedded cluster's data."""
    fleet: str = "deployments"
    """Where `Application` specs live: a path, or `<git url>//<dir>@<ref>`."""
    prometheus: Path | None = None
    """The Prometheus binary for `tidegate demo`; default: the one on PATH."""
    kustomize: Path | None = None
    """The kustomize binary; default: the one on PATH."""
    helm: Path | None = None
    """The helm binary; default: the one on PATH."""
    git_protocols: str = "https:ssh"
    """Transports git may use (`GIT_ALLOW_PROTOCOL`); tests and the demo add `http`."""
    git_token: SecretStr | None = None
    """Token for git over HTTPS, given to git by askpass, never in a URL or argument."""
    git_username: str = "tidegate"
    """User name that goes with `git_token`."""
    git_ssh_key: Path | None = None
    """Private key for git over SSH."""
    git_known_hosts: Path | None = None
    """Pinned host keys for git over SSH."""
    registry_username: str | None = None
    registry_password: SecretStr | None = None
    author_name: str = "Tidegate"
    author_email: str = "tidegate@localhost"
    installation: str = "default"
    """Id of this installation; part of tracking annotations, so two installations never fight unseen."""
    digest_key: SecretStr | None = None
    """Key of the digests that stand for Secret values on the rendered branch; default: made under `home`."""
    lease_seconds: int = 10
    """How long a `coordination.k8s.io/Lease` outlives its holder."""
    poll: float | None = None
    """Seconds between two looks of `git-sync` at the repositories; default: what `prefect.yaml` says."""
    patience: float = 900.0
    """Longest wait, in seconds, that a run stays alive for; longer ones end it and schedule the next look."""
    git_timeout: float = 25.0
    """Seconds one git command may take."""


@lru_cache(maxsize=1)
def settings() -> Settings:
    """The process's settings; tests that change the environment call `settings.cache_clear()`."""
    return Settings()
