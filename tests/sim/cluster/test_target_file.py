"""The target file says what Prometheus's own Kubernetes discovery says."""

from __future__ import annotations

from typing import Any

from tidegate.sim.targets import groups

POD: dict[str, Any] = {
    "metadata": {
        "name": "web-1",
        "namespace": "default",
        "uid": "u",
        "labels": {"app": "web", "tidegate.dev/track": "canary"},
        "annotations": {"prometheus.io/scrape": "true"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "web-r", "uid": "r", "controller": True}],
    },
    "spec": {
        "nodeName": "here",
        "containers": [
            {
                "name": "app",
                "image": "img",
                "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
            }
        ],
    },
    "status": {
        "phase": "Running",
        "podIP": "127.67.25.10",
        "hostIP": "127.0.0.1",
        "conditions": [{"type": "Ready", "status": "True"}],
        "containerStatuses": [{"name": "app", "containerID": "tidegate://abc"}],
    },
}
# Taken from discovery/kubernetes of Prometheus 3.4 against the embedded cluster.
SAID_BY_PROMETHEUS = {
    "namespace": "default",
    "pod_annotation_prometheus_io_scrape": "true",
    "pod_annotationpresent_prometheus_io_scrape": "true",
    "pod_container_id": "tidegate://abc",
    "pod_container_image": "img",
    "pod_container_init": "false",
    "pod_container_name": "app",
    "pod_container_port_name": "http",
    "pod_container_port_number": "8080",
    "pod_container_port_protocol": "TCP",
    "pod_controller_kind": "ReplicaSet",
    "pod_controller_name": "web-r",
    "pod_host_ip": "127.0.0.1",
    "pod_ip": "127.67.25.10",
    "pod_label_app": "web",
    "pod_label_tidegate_dev_track": "canary",
    "pod_labelpresent_app": "true",
    "pod_labelpresent_tidegate_dev_track": "true",
    "pod_name": "web-1",
    "pod_node_name": "here",
    "pod_phase": "Running",
    "pod_ready": "true",
    "pod_uid": "u",
}


def test_labels_are_those_of_kubernetes_discovery() -> None:
    (group,) = groups([POD])
    assert group["targets"] == ["127.67.25.10:8080"]
    assert {k.removeprefix("__meta_kubernetes_"): v for k, v in group["labels"].items()} == SAID_BY_PROMETHEUS


def test_a_remapped_port_is_the_one_to_ask_and_a_pod_without_address_is_left_out() -> None:
    remapped = {**POD, "metadata": {**POD["metadata"], "annotations": {"tidegate.dev/port-8080": "40001"}}}
    waiting = {**POD, "status": {"phase": "Pending"}}
    assert [g["targets"] for g in groups([remapped, waiting])] == [["127.67.25.10:40001"]]
