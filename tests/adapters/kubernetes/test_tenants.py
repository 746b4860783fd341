"""A stage with a tenant's rights: every request is the ServiceAccount's, and nothing falls back to ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tidegate.adapters.targets.kubernetes import Allow, Cluster, Settings, build
from tidegate.domain.manifests import Ref, read
from tidegate.domain.plan import Action, Owner, Plan
from tidegate.domain.scope import Scope
from tidegate.errors import Refused, Rejected

OWNER = Owner("shop", "production", "default")


def config(name: str, namespace: str = "", **data: str) -> str:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    return json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data})


def tenant(world: Any, kubeconfig: Path, **settings: Any) -> Cluster:
    """The same target as a tenant's `deployer`."""
    namespace = world.cluster.namespace
    return build(Settings(kubeconfig=kubeconfig, namespace=namespace, **settings))


def grant(world: Any, *resources: str, group: str = "") -> None:
    """Let the tenant do everything with some resources of its namespace."""
    name = "-".join(resources)
    subject = {"kind": "ServiceAccount", "name": "deployer", "namespace": world.cluster.namespace}
    meta = {"name": name, "namespace": world.cluster.namespace}
    api = "rbac.authorization.k8s.io"
    role = {"rules": [{"apiGroups": [group], "resources": list(resources), "verbs": ["*"]}]}
    binding = {"subjects": [subject], "roleRef": {"apiGroup": api, "kind": "Role", "name": name}}
    for kind, body in (("Role", role), ("RoleBinding", binding)):
        world.put(json.dumps({"apiVersion": f"{api}/v1", "kind": kind, "metadata": meta, **body}))


def look(cluster: Cluster, text: str) -> Plan:
    return cluster.look(OWNER, read(text.encode(), "test.yaml"))


def deploy(cluster: Cluster, text: str) -> Plan:
    plan = look(cluster, text)
    result = cluster.apply(OWNER, plan, fence=lambda: None)
    assert not result.problems
    return plan


def test_without_rights_of_its_own_a_tenant_can_do_nothing_although_we_could(
    either: Any, kubeconfig_of: Path
) -> None:
    with pytest.raises(Rejected, match=r"system:serviceaccount:.*:deployer.* cannot get resource"):
        look(tenant(either, kubeconfig_of, service_account="deployer"), config("a"))


def test_a_tenant_deploys_what_it_may_and_is_told_what_it_may_not(either: Any, kubeconfig_of: Path) -> None:
    grant(either, "configmaps")
    cluster = tenant(either, kubeconfig_of, service_account="deployer")
    deploy(cluster, config("a", v="1"))
    assert either.get("ConfigMap", "a")["data"] == {"v": "1"}
    secret = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {}})
    with pytest.raises(Rejected, match=r"not allowed \(403\)"):
        deploy(cluster, config("a", v="2") + "\n---\n" + secret)
    assert either.get("ConfigMap", "a")["data"] == {"v": "1"}, "nothing was written"


def test_every_request_is_the_tenants(either: Any, kubeconfig_of: Path) -> None:
    grant(either, "configmaps")
    grant(either, "leases", group="coordination.k8s.io")
    cluster = tenant(either, kubeconfig_of, service_account="deployer")
    either.requests.clear()
    deploy(cluster, config("a", v="1"))
    deploy(cluster, config("b", v="1"))  # with a prune
    lease = cluster.lease("tidegate-shop-production", "one")
    assert lease.acquire()
    lease.release()
    list(cluster.list("v1", "ConfigMap"))
    account = f"system:serviceaccount:{cluster.namespace}:deployer"
    if hasattr(either.requests, "users"):  # the real server keeps an audit log
        assert either.requests.users == {account}


def test_what_is_out_of_scope_is_refused_before_anything_is_written(either: Any, kubeconfig_of: Path) -> None:
    cluster = tenant(either, kubeconfig_of, allow=Allow(kinds=("ConfigMap",)))
    namespace = json.dumps({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "more"}})
    secret = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {}})
    text = "\n---\n".join([config("a"), config("b", "kube-system"), secret, namespace])
    with pytest.raises(Refused) as refused:
        deploy(cluster, text)
    words = str(refused.value)
    assert "ConfigMap kube-system/b: namespace kube-system is not this stage's" in words
    assert "Secret is not among its kinds; add it to the target's allow.kinds" in words
    assert (
        "Namespace more: Namespace is outside of namespaces; add it to the target's allow.cluster_kinds"
        in words
    )
    assert either.get("ConfigMap", "a") is None


def test_what_left_the_scope_is_not_pruned(either: Any, kubeconfig_of: Path) -> None:
    secret = json.dumps({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {}})
    deploy(tenant(either, kubeconfig_of), config("a") + "\n---\n" + secret)
    plan = deploy(tenant(either, kubeconfig_of, allow=Allow(kinds=("ConfigMap",))), config("a"))
    assert [c.action for c in plan.changes] == [Action.Unchanged, Action.Refused]
    assert either.get("Secret", "s") is not None


@pytest.mark.parametrize(
    ("kind", "group", "namespace", "is_allowed"),
    [
        ("ConfigMap", "", "shop", True),
        ("Deployment", "apps", "shop-jobs", True),
        ("Deployment", "apps", "other", False),
        ("Role", "rbac.authorization.k8s.io", "shop", False),
        ("StorageClass", "storage.k8s.io", "", True),
        ("ClusterRole", "rbac.authorization.k8s.io", "", False),
    ],
)
def test_namespaces_and_kinds_are_patterns(kind: str, group: str, namespace: str, is_allowed: bool) -> None:
    scope = Scope(("shop-*",), ("*.apps", "ConfigMap"), ("*.storage.k8s.io",))
    assert bool(scope.forbids(Ref(group, kind, namespace, "a"), "shop")) != is_allowed
