"""The real control plane on loopback: etcd, API server, controllers, scheduler, and our node agent as the kubelet."""

from __future__ import annotations

import base64
import ssl
import sys
import time
from pathlib import Path

import urllib3
import yaml

from tests.controlplane.build import Programs
from tests.controlplane.certificates import Authority, Pair
from tidegate.running.processes import Child, Processes, answers, free_port

HOST = "127.0.0.1"
START_SECONDS = 120.0
"""Long, because a machine may be busy; nothing waits longer than the start takes."""

NODE_SECONDS = 20.0

AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}


class ControlPlane:
    """Everything under `home`. As a context manager; all it started ends with it, also when we are killed.

    `controllers` is kube-controller-manager's own list; without `runs_pods` there is neither scheduler nor node. Call
    `start` from the main thread: the kernel ties the children to the thread that started them.
    """

    def __init__(
        self, home: Path, programs: Programs, controllers: str = "*", *, runs_pods: bool = True
    ) -> None:
        self.home = home.resolve()
        self.kubeconfig = self.home / "kubeconfig"
        """The administrator's, with the certificates inside."""
        self.audit_log = self.home / "audit.jsonl"
        """Every request, one JSON event a line, in the order in which the server answered."""
        self.url = ""
        self._programs = programs
        self._controllers = controllers
        self._runs_pods = runs_pods
        self._processes = Processes(self.home / "logs")

    def __enter__(self) -> ControlPlane:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Returns when the API server is ready, the controllers work and the node is registered."""
        authority = Authority(self.home / "certificates")
        etcd = self._start_etcd()
        tokens = authority.tokens()
        self._start_apiserver(etcd, authority, tokens)
        self._start_controllers(authority, tokens)
        if self._runs_pods:
            self._start_client("kube-scheduler", self._programs.scheduler, authority)
            self._start_node(authority)

    def stop(self) -> None:
        """Ends every process; what is under `home` stays."""
        if "node" in self._processes.children:  # while there is an API server for it to report to
            self._processes.children.pop("node").stop(time.monotonic() + NODE_SECONDS)
        if "kube-apiserver" in self._processes.children:
            self._processes.children["kube-apiserver"].popen.kill()  # see tests.controlplane.abrupt
        self._processes.stop()

    def ssl_context(self) -> ssl.SSLContext:
        """The administrator's, for a client that speaks plain HTTP."""
        folder = self.home / "certificates"
        context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        context.load_cert_chain(folder / "admin.crt", folder / "admin.key")
        return context

    def _start_etcd(self) -> str:
        client, peer = (f"http://{HOST}:{free_port()}" for _ in range(2))
        argv = [
            str(self._programs.etcd),
            f"--data-dir={self.home / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            # Without it the API server's watch cache may believe for ten minutes that it is behind.
            "--experimental-watch-progress-notify-interval=1s",
        ]
        self._run("etcd", argv, f"{client}/health")
        return client

    def _start_apiserver(self, etcd: str, authority: Authority, tokens: Pair) -> None:
        port = free_port()
        self.url = f"https://{HOST}:{port}"
        policy = self.home / "audit-policy.yaml"
        policy.write_text(yaml.safe_dump(AUDIT_POLICY))
        argv = [
            *(sys.executable, "-m", "tests.controlplane.abrupt"),
            str(self._programs.apiserver),
            f"--etcd-servers={etcd}",
            f"--bind-address={HOST}",
            f"--advertise-address={HOST}",
            f"--secure-port={port}",
            *_serving(authority.server("kube-apiserver")),
            f"--client-ca-file={authority.certificate}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={tokens.certificate}",
            f"--service-account-signing-key-file={tokens.key}",
            "--service-cluster-ip-range=10.0.0.0/24",
            "--authorization-mode=RBAC",
            # Pods would wait for their namespace's account, and get a volume nobody here serves.
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
            "--kubelet-preferred-address-types=InternalIP",  # nobody resolves the node's name
            "--allow-privileged",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={self.audit_log}",
        ]
        self._write_kubeconfig("kubeconfig", authority, authority.user("admin", "system:masters"))
        child = self._start("kube-apiserver", argv)
        self._await(child, f"{self.url}/readyz")

    def _start_controllers(self, authority: Authority, tokens: Pair) -> None:
        self._start_client(
            "kube-controller-manager",
            self._programs.controller_manager,
            authority,
            f"--controllers={self._controllers}",
            f"--service-account-private-key-file={tokens.key}",
            f"--root-ca-file={authority.certificate}",
            "--use-service-account-credentials",
        )

    def _start_client(self, name: str, program: Path, authority: Authority, *options: str) -> None:
        """A part that works through the API server, under the user that its RBAC rules are bound to."""
        config = self._write_kubeconfig(f"{name}.kubeconfig", authority, authority.user(f"system:{name}"))
        port = free_port()
        own = (f"--kubeconfig={config}", "--leader-elect=false", f"--bind-address={HOST}")
        serving = (f"--secure-port={port}", *_serving(authority.server(name)))
        child = self._processes.start(name, (str(program), *own, *serving, *options), restart=False)
        self._await(child, f"https://{HOST}:{port}/healthz")

    def _await(self, child: Child, healthy: str) -> None:
        with urllib3.PoolManager(ssl_context=self.ssl_context(), retries=False) as pool:
            self._processes.wait(child, lambda: _succeeds(pool, healthy), seconds=START_SECONDS)

    def _start_node(self, authority: Authority) -> None:
        """In a process of its own, so that pods end in order whatever becomes of us."""
        pair = authority.user("tidegate-node", "system:masters")
        config = self._write_kubeconfig("node.kubeconfig", authority, pair)
        ready, serving = self.home / "node-ready", authority.server("tidegate-node")
        argv = [
            sys.executable,
            "-m",
            "tests.controlplane.node",
            str(config),
            str(self.home / "node"),
            str(ready),
            str(serving.certificate),
            str(serving.key),
        ]
        child = self._start("node", argv)
        self._processes.wait(child, ready.exists, seconds=START_SECONDS)

    def _start(self, name: str, argv: list[str]) -> Child:
        """A program of this package."""
        root = Path(__file__).resolve().parents[2]
        return self._processes.start(name, argv, env={"PYTHONPATH": str(root)}, cwd=root, restart=False)

    def _run(self, name: str, argv: list[str], health: str) -> Child:
        child = self._processes.start(name, argv, restart=False)
        self._processes.wait(child, lambda: answers(health), seconds=START_SECONDS)
        return child

    def _write_kubeconfig(self, name: str, authority: Authority, user: Pair) -> Path:
        path = self.home / name
        cluster = {"server": self.url, "certificate-authority-data": _encoded(authority.certificate)}
        client = {
            "client-certificate-data": _encoded(user.certificate),
            "client-key-data": _encoded(user.key),
        }
        context = {"cluster": "controlplane", "user": user.key.stem, "namespace": "default"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "controlplane",
            "clusters": [{"name": "controlplane", "cluster": cluster}],
            "users": [{"name": user.key.stem, "user": client}],
            "contexts": [{"name": "controlplane", "context": context}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _serving(pair: Pair) -> tuple[str, str]:
    return f"--tls-cert-file={pair.certificate}", f"--tls-private-key-file={pair.key}"


def _succeeds(pool: urllib3.PoolManager, url: str) -> bool:
    try:
        return pool.request("GET", url, timeout=5.0).status == 200
    except urllib3.exceptions.HTTPError:
        return False
