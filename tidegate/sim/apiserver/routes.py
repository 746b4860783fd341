"""Paths to what they mean."""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from tidegate.sim.apiserver.failures import bad_request


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request, its target taken apart."""

    method: str
    target: str
    path: str
    query: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)
    """Names in lower case."""
    body: bytes = b""

    @classmethod
    def parse(cls, method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
        split = urlsplit(target)
        query = dict(parse_qsl(split.query, keep_blank_values=True))
        return cls(method, target, split.path, query, headers, body)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "") in ("true", "1", "t", "True")

    def number(self, name: str) -> int:
        """A whole number of the query, 0 when it is missing. Raises 400."""
        text = self.query.get(name, "")
        if text and not text.isdigit():
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax')
        return int(text or 0)

    @property
    def accept(self) -> str:
        return self.headers.get("accept", "")

    @property
    def user_agent(self) -> str:
        return self.headers.get("user-agent", "")

    @property
    def manager(self) -> str:
        """The field manager: as asked, else from the user agent, as the real server does."""
        return self.query.get("fieldManager") or self.user_agent.partition("/")[0] or "unknown"

    @property
    def dry_run(self) -> bool:
        return "dryRun" in self.query


@dataclass(frozen=True, slots=True)
class Target:
    """An object or collection: /api/v1/namespaces/NS/pods/NAME/log/…"""

    group: str
    version: str
    namespace: str
    plural: str
    name: str = ""
    subresource: str = ""
    rest: str = ""
    watch: bool = False
    """The deprecated /watch/ prefix."""


def target(path: str) -> Target | None:
    """The target of a resource path; None when the path is not one."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    watch = rest[0] == "watch" and len(rest) > 1
    rest = rest[1:] if watch else rest
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = unquote(rest[1]), rest[2:]
    name, subresource = (unquote(rest[1]) if len(rest) > 1 else ""), (rest[2] if len(rest) > 2 else "")
    tail = "/".join(rest[3:])
    if path.endswith("/") and len(rest) > 2:
        tail += "/"
    return Target(group, version, namespace, rest[0], name, subresource, tail, watch)
