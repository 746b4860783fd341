"""Who may do what: RBAC, for requests that come in somebody's name (`Impersonate-User`).

There is no authentication here: a request in nobody's name is the administrator's, and may everything. Rules and words
are those of Kubernetes' `rbac` authorizer and its escalation checks. Of the roles that every real cluster is born with
only `cluster-admin` is known; aggregation is not done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from tidegate.sim.apiserver.failures import bad_request, forbidden, not_found
from tidegate.sim.apiserver.resources import NAMESPACES, Key, Resource
from tidegate.sim.apiserver.routes import Request, Target
from tidegate.sim.apiserver.store import Store

Object = dict[str, Any]
_GROUP: Final = "rbac.authorization.k8s.io"
_ROLES: Final[Key] = (_GROUP, "roles")
_CLUSTER_ROLES: Final[Key] = (_GROUP, "clusterroles")
_BINDINGS: Final[Key] = (_GROUP, "rolebindings")
_CLUSTER_BINDINGS: Final[Key] = (_GROUP, "clusterrolebindings")
_ACCOUNT: Final = "system:serviceaccount:"
_MASTERS: Final = "system:masters"
_EVERYTHING: Final[list[Object]] = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}]


@dataclass(frozen=True, slots=True)
class Caller:
    """In whose name a request comes."""

    name: str
    groups: tuple[str, ...]

    @classmethod
    def of(cls, headers: Mapping[str, str]) -> Caller | None:
        """None: the administrator. Raises 400 for groups without a user."""
        name, given = headers.get("impersonate-user", ""), headers.get("impersonate-group", "")
        groups = tuple(group for group in given.split("\n") if group)
        if not name:
            if groups:
                told = ", ".join(map(json.dumps, groups))
                who = f'Name:"", UID:"", Groups:[]string{{{told}}}, Extra:map[string][]string(nil)'
                raise bad_request(f"requested &user.DefaultInfo{{{who}}} without impersonating a user name")
            return None
        if name.startswith(_ACCOUNT) and not groups:
            groups = ("system:serviceaccounts", f"system:serviceaccounts:{name.split(':')[2]}")
        everybody = "system:unauthenticated" if name == "system:anonymous" else "system:authenticated"
        return cls(name, groups if everybody in groups else (*groups, everybody))


@dataclass(frozen=True, slots=True)
class Ask:
    """What is asked for: a verb on a resource."""

    verb: str
    group: str
    resource: str
    """With its subresource: `pods/log`."""
    namespace: str = ""
    name: str = ""


def ask_of(request: Request, resource: Resource, place: Target) -> Ask:
    """The request as RBAC sees it."""
    verb = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
        request.method, "get"
    )
    if not place.name:
        verb = {"get": "list", "delete": "deletecollection"}.get(verb, verb)
    if verb in ("get", "list") and (place.watch or request.flag("watch")):
        verb = "watch"
    plural = f"{resource.plural}/{place.subresource}" if place.subresource else resource.plural
    namespace = place.name if resource.key == NAMESPACES else place.namespace
    return Ask(verb, resource.group, plural, namespace, place.name)


def check_request(store: Store, request: Request, resource: Resource, place: Target) -> None:
    """Raises 403. Whoever has a name may ask what he may."""
    if "list" in resource.verbs:
        check(store, Caller.of(request.headers), ask_of(request, resource, place))


def check(store: Store, caller: Caller | None, ask: Ask) -> None:
    """Raises 403 when the caller may not."""
    if may(store, caller, ask):
        return
    assert caller is not None
    where = f'in the namespace "{ask.namespace}"' if ask.namespace else "at the cluster scope"
    why = (
        f'User "{caller.name}" cannot {ask.verb} resource "{ask.resource}" in API group "{ask.group}" {where}'
    )
    raise forbidden(ask.group, ask.resource.partition("/")[0], ask.name, why)


def may(store: Store, caller: Caller | None, ask: Ask) -> bool:
    if caller is None or _MASTERS in caller.groups:
        return True
    return any(_covers(rule, ask) for rule in _rules(store, caller, ask.namespace))


def review(store: Store, caller: Caller | None, body: Object) -> Object:
    """A SelfSubjectAccessReview with its answer. Whoever asks for no resource asks for what all may read."""
    asked = (body.get("spec") or {}).get("resourceAttributes")
    allowed = True
    if asked is not None:
        plural = "/".join(part for part in (asked.get("resource"), asked.get("subresource")) if part)
        verb, group, namespace, name = (asked.get(n) or "" for n in ("verb", "group", "namespace", "name"))
        allowed = may(store, caller, Ask(verb, group, plural, namespace, name))
    return {**body, "metadata": {}, "status": {"allowed": allowed}}


def check_grant(store: Store, resource: Resource, obj: Object, caller: Caller | None) -> None:
    """Nobody gives what he has not: roles, and bindings to roles. Raises 403, and 404 for a role that is none."""
    if caller is None or resource.group != _GROUP or _MASTERS in caller.groups:
        return
    namespace, name = obj["metadata"].get("namespace", ""), obj["metadata"]["name"]
    if resource.key in (_ROLES, _CLUSTER_ROLES):
        granted = obj.get("rules") or []
        leave = Ask("escalate", _GROUP, resource.plural, namespace, name)
    else:
        role = obj["roleRef"]
        plural = "clusterroles" if role.get("kind") == "ClusterRole" else "roles"
        if not _exists(store, plural, namespace, role.get("name", "")):
            raise not_found(_GROUP, resource.plural, role.get("name", ""))  # of that plural there too
        granted = _granted(store, role, namespace)
        leave = Ask("bind", _GROUP, plural, namespace, role.get("name", ""))
    if may(store, caller, leave):
        return
    missing = list(_missing(store, caller, granted, namespace))
    if missing:
        groups = " ".join(map(json.dumps, caller.groups))
        why = f'user "{caller.name}" (groups=[{groups}]) is attempting to grant RBAC permissions not currently held'
        raise forbidden(resource.group, resource.plural, name, why + ":\n" + "\n".join(missing))


def _rules(store: Store, caller: Caller, namespace: str) -> Iterator[Object]:
    """Every rule that holds for the caller there."""
    for _, stored in store.select(_CLUSTER_BINDINGS):
        if _is_bound(stored.object, caller):
            yield from _granted(store, stored.object["roleRef"], "")
    for _, stored in store.select(_BINDINGS, namespace) if namespace else ():
        if _is_bound(stored.object, caller):
            yield from _granted(store, stored.object["roleRef"], namespace)


def _is_bound(binding: Object, caller: Caller) -> bool:
    home = binding["metadata"].get("namespace", "")
    for subject in binding.get("subjects") or ():
        name = subject.get("name", "")
        match subject.get("kind"):
            case "User" if name in ("*", caller.name):
                return True
            case "Group" if name in caller.groups:
                return True
            case "ServiceAccount" if caller.name == f"{_ACCOUNT}{subject.get('namespace') or home}:{name}":
                return True
    return False


def _exists(store: Store, plural: str, namespace: str, name: str) -> bool:
    place = (namespace if plural == "roles" else "", name)
    return store.get((_GROUP, plural), place) is not None or (plural, name) == (
        "clusterroles",
        "cluster-admin",
    )


def _granted(store: Store, role: Object, namespace: str) -> list[Object]:
    cluster = role.get("kind") == "ClusterRole"
    stored = store.get(_CLUSTER_ROLES if cluster else _ROLES, ("" if cluster else namespace, role["name"]))
    if stored is None:
        return _EVERYTHING if cluster and role["name"] == "cluster-admin" else []
    return list(stored.object.get("rules") or ())


def _covers(rule: Object, ask: Ask) -> bool:
    plural, _, sub = ask.resource.partition("/")
    resources = {"*", ask.resource} | ({f"*/{sub}"} if sub else {plural})
    names = rule.get("resourceNames") or ()
    return (
        bool({"*", ask.verb} & set(rule.get("verbs") or ()))
        and bool({"*", ask.group} & set(rule.get("apiGroups") or ()))
        and bool(resources & set(rule.get("resources") or ()))
        and (not names or ask.name in names)
    )


def _missing(store: Store, caller: Caller, granted: list[Object], namespace: str) -> Iterator[str]:
    """What of the rules the caller does not hold, one line per group and resource."""
    for rule in granted:
        for name in rule.get("resourceNames") or [""]:
            for group in rule.get("apiGroups") or ():
                for resource in rule.get("resources") or ():
                    ask = Ask("", group, resource, namespace, name)
                    verbs = [
                        v for v in rule.get("verbs") or () if not may(store, caller, replace(ask, verb=v))
                    ]
                    if verbs:
                        yield _line(group, resource, name, verbs)


def _line(group: str, resource: str, name: str, verbs: list[str]) -> str:
    names = f', ResourceNames:["{name}"]' if name else ""
    listed = " ".join(map(json.dumps, verbs))
    return f'{{APIGroups:["{group}"], Resources:["{resource}"]{names}, Verbs:[{listed}]}}'
