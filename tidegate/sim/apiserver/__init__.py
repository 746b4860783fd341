"""The embedded Kubernetes API server: for trying out and for tests, never for production.

    with ApiServer() as server:
        print(server.url)

No authentication, no TLS, 127.0.0.1 only. It serves discovery, the built-in kinds Tidegate needs and custom resources,
with server-side apply, patches, watches, deletion and garbage collection as the real server does them; one contract
suite (`tests/contract`) runs against both, and where they differ this one is wrong. RBAC holds for requests that
impersonate somebody; all others are the administrator's.

Not implemented, answered 501 or 404: pods/exec, attach, portforward, ephemeralcontainers, binding; admission webhooks
(stored, never called); CEL rules and conversion webhooks of CRDs; the cluster roles a real server is born with (but
cluster-admin) and their aggregation; protobuf bodies (415); events.k8s.io; API priority and fairness; quotas and limit
ranges (stored, not enforced).

Ours alone: `/_tidegate/faults`, see `tidegate.sim.apiserver.faults`.
"""

from tidegate.sim.apiserver.faults import Fault
from tidegate.sim.apiserver.server import ApiServer

__all__ = ["ApiServer", "Fault"]
