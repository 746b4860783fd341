"""Names of images, read the way Docker reads them: `[registry/]repository[:tag][@digest]`."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from tidegate.errors import SpecError

DOCKER_HUB = "registry-1.docker.io"
"""Where names without a registry live."""
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(
    rf"(?:(?P<registry>[^/@]+)/)??(?P<repository>{_PART}(?:/{_PART})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed image name (the grammar of distribution/reference)."""

    registry: str
    """`host[:port]`; empty when the name has none (Docker Hub)."""
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """The parts of a name; `SpecError` when it is none.

        The first part is a registry when it has a dot or a colon or is `localhost`, as in Docker.
        """
        found = _NAME.fullmatch(text)
        first, slash, rest = text.partition("/")
        if slash and (first == "localhost" or "." in first or ":" in first):
            found = _NAME.fullmatch(rest)
            if not found or not re.fullmatch(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?", first):
                found = None
        else:
            first = ""
        if not found or (not first and found["registry"]):
            raise SpecError(
                f"image '{text}' is not a name; write it like registry.example/team/app, in lower case"
            )
        return cls(first, found["repository"], found["tag"] or "", found["digest"] or "")

    @property
    def name(self) -> str:
        """Without tag and digest."""
        return f"{self.registry}/{self.repository}" if self.registry else self.repository

    @property
    def api_repository(self) -> str:
        """The repository as the registry's API wants it (`library/` for Docker Hub's own images)."""
        hub = not self.registry and "/" not in self.repository
        return f"library/{self.repository}" if hub else self.repository

    @property
    def base_url(self) -> str:
        """Where the registry answers: plain HTTP for loopback only, as Docker does it."""
        return f"{'http' if is_loopback(self.registry) else 'https'}://{self.registry or DOCKER_HUB}"


def is_loopback(address: str) -> bool:
    """Whether `host[:port]` is this machine."""
    host = re.sub(r":\d+$", "", address).strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
