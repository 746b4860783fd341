"""Logs from nodes, HTTP to pods and services."""

import http.server
import threading

import pytest


class Echo(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked."""

    def do_GET(self):
        self._answer(self.path.encode())

    def do_POST(self):
        self._answer(self.path.encode() + b" " + self.rfile.read(int(self.headers["content-length"])))

    def _answer(self, body):
        self.send_response(418 if self.path.startswith("/teapot") else 200)
        self.send_header("content-type", "text/x-echo")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def backend():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def service(api, *ports):
    spec = {"selector": {"a": "b"}, "ports": list(ports)}
    assert api.post("services", {"metadata": {"name": "web"}, "spec": spec}).status == 201


def endpoints(api, port, name="", ready=True):
    api.post(
        "endpointslices",
        {
            "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["127.0.0.1"], "conditions": {"ready": ready}}],
            "ports": [{"name": name, "port": port}],
        },
    )


def test_a_service_is_reached_by_its_port_number(api, backend):
    service(api, {"port": 80})
    endpoints(api, backend)
    answer = api.get("services/web:80/proxy/some/path?x=1&x=2")
    assert (answer.status, answer.body) == (200, "/some/path?x=1&x=2")
    assert answer.headers["Content-Type"] == "text/x-echo"


def test_a_service_is_reached_by_its_port_name(api, backend):
    service(api, {"port": 80, "name": "http"}, {"port": 81, "name": "admin"})
    endpoints(api, backend, "admin")
    assert api.get("services/http:web:admin/proxy/").body == "/"
    assert api.get("services/web:81/proxy/a").body == "/a"


def test_a_single_port_needs_no_name(api, backend):
    service(api, {"port": 80})
    endpoints(api, backend)
    assert api.get("services/web/proxy/a").body == "/a"


def test_bodies_go_through(api, backend):
    service(api, {"port": 80})
    endpoints(api, backend)
    assert api.post("services/web:80/proxy/predict", b"digits").body == "/predict digits"


def test_the_backends_status_is_the_answers(api, backend):
    service(api, {"port": 80})
    endpoints(api, backend)
    assert api.get("services/web:80/proxy/teapot").status == 418


def test_without_ready_endpoints_the_service_is_unavailable(api, backend):
    service(api, {"port": 80})
    answer = api.get("services/web:80/proxy/")
    assert (answer.status, answer.body["reason"]) == (503, "ServiceUnavailable")
    assert answer.message == 'no endpoints available for service "web"'
    endpoints(api, backend, ready=False)
    assert api.get("services/web:80/proxy/").status == 503


def test_an_unknown_service_is_not_found(api):
    assert api.get("services/none:80/proxy/").status == 404


def test_a_backend_that_does_not_answer_is_unavailable(api):
    service(api, {"port": 80})
    endpoints(api, 1)
    answer = api.get("services/web:80/proxy/")
    assert answer.status == 503
    assert answer.message.startswith("error trying to reach service")


def test_a_pod_is_reached_at_its_address(api, pod, backend):
    api.post("pods", pod(node="one"))
    api.patch("pods/p/status", {"status": {"podIP": "127.0.0.1"}})
    assert api.get(f"pods/p:{backend}/proxy/metrics").body == "/metrics"


def node(api, port):
    addresses = [{"type": "InternalIP", "address": "127.0.0.1"}]
    status = {"addresses": addresses, "daemonEndpoints": {"kubeletEndpoint": {"Port": port}}}
    assert api.post("/api/v1/nodes", {"metadata": {"name": "one"}, "status": status}).status == 201


def test_logs_come_from_the_pods_node(api, pod, backend):
    node(api, backend)
    api.post("pods", pod(node="one"))
    answer = api.get("pods/p/log?tailLines=5&follow=true")
    assert (answer.status, answer.body) == (200, "/containerLogs/shop/p/main?follow=true&tailLines=5")


def test_logs_of_a_pod_without_a_node_are_refused(api, pod):
    api.post("pods", pod())
    answer = api.get("pods/p/log")
    assert (answer.status, answer.message) == (400, "pod p does not have a host assigned")


def test_with_several_containers_the_log_needs_a_name(api, pod, backend):
    node(api, backend)
    body = pod(node="one")
    body["spec"]["containers"].append({"name": "side", "image": "side:1"})
    api.post("pods", body)
    answer = api.get("pods/p/log")
    assert answer.status == 400
    assert "a container name must be specified for pod p, choose one of: [main side]" in answer.message
    assert "/containerLogs/shop/p/side" in api.get("pods/p/log?container=side").body
    assert api.get("pods/p/log?container=none").status == 400


def test_a_node_without_an_agent_is_unavailable(api, pod):
    node(api, 1)
    api.post("pods", pod(node="one"))
    assert api.get("pods/p/log").status == 503


def test_what_is_not_implemented_says_so(api, pod):
    api.post("pods", pod())
    answer = api.post("pods/p/exec", {})
    assert (answer.status, answer.body["reason"]) == (501, "NotImplemented")
    assert "pods/exec is not implemented by the embedded API server" in answer.message
