#!/bin/sh
# Make sure that the programs we stand on are there: installed the platform's way, or one sentence says what to do.
#
#   infra/tools.sh demo     Prometheus
#   infra/tools.sh test     also what the tests run against: kubectl, kustomize, helm, Chromium, Docker, a registry,
#                           sshd, and etcd where there is a Go to build Kubernetes with
#
# TIDEGATE_PROMETHEUS names a Prometheus binary that is not on PATH. Prints nothing when nothing is missing.
set -eu

PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin" # servers live there, and are on nobody's PATH but root's
here=$(cd "$(dirname "$0")/.." && pwd)
KUSTOMIZE=v5.5.0
HELM=v3.22.0

there() { command -v "$1" >/dev/null 2>&1; }
say() { printf '%s\n' "$*" >&2; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif there sudo && sudo -n true 2>/dev/null; then sudo -n "$@"
    else return 1
    fi
}

# SYSTEMD_OFFLINE: the packages must not start their services; we start what we need on free ports ourselves.
apt() {
    there apt-get || return 1
    as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 \
        apt-get install -y -q --no-install-recommends "$@" >/dev/null 2>&1 && return
    as_root apt-get update -q >/dev/null 2>&1 || return 1
    as_root env DEBIAN_FRONTEND=noninteractive SYSTEMD_OFFLINE=1 \
        apt-get install -y -q --no-install-recommends "$@" >/dev/null
}

brew_install() { there brew && brew install --quiet "$@" >/dev/null; }

want_prometheus() {
    if [ -n "${TIDEGATE_PROMETHEUS:-}" ]; then
        [ -x "$TIDEGATE_PROMETHEUS" ] && return
        say "TIDEGATE_PROMETHEUS=$TIDEGATE_PROMETHEUS is not a program; set it to the Prometheus binary or unset it."
        return 1
    fi
    there prometheus && return
    say "installing Prometheus"
    { apt prometheus || brew_install prometheus; } && there prometheus && return
    say "Prometheus is missing and cannot be installed here: put the binary from prometheus.io on PATH, or set" \
        "TIDEGATE_PROMETHEUS to it, and try again."
    return 1
}

want_kubectl() {
    there kubectl && return
    say "installing kubectl"
    { apt kubernetes-client || brew_install kubernetes-cli; } && there kubectl
}

want_kustomize() {
    there kustomize && return
    [ -x "$here/.venv/bin/kustomize" ] && return
    say "installing kustomize"
    if there go; then
        GOBIN="$here/.venv/bin" go install "sigs.k8s.io/kustomize/kustomize/v5@$KUSTOMIZE" && return
    fi
    brew_install kustomize && there kustomize
}

want_helm() {
    there helm && return
    [ -x "$here/.venv/bin/helm" ] && return
    say "installing helm"
    if there go; then
        GOBIN="$here/.venv/bin" go install "helm.sh/helm/v3/cmd/helm@$HELM" && return
    fi
    brew_install helm && there helm
}

want_chromium() {
    there chromium && return
    there google-chrome && return
    say "installing Chromium"
    { apt chromium || brew_install --cask chromium; } && there chromium
}

want_docker() {
    there dockerd && return
    there docker && docker info >/dev/null 2>&1 && return
    say "installing Docker"
    apt docker.io iptables && there dockerd
}

want_registry() {
    there docker-registry && return
    say "installing a registry"
    apt docker-registry && there docker-registry
}

want_sshd() {
    there sshd && return
    say "installing an SSH server"
    apt openssh-server && there sshd
}

want_etcd() {
    there etcd && return
    [ -n "${KUBEBUILDER_ASSETS:-}" ] && return
    there go || return 0
    say "installing etcd"
    { apt etcd-server || brew_install etcd; } && there etcd
}

wanted() {
    "want_$1" || say "$1 is missing and cannot be installed here; the tests that need it will say so. Install it and run again."
}

want_prometheus
if [ "${1:-demo}" = test ]; then
    for tool in kubectl kustomize helm chromium docker registry sshd etcd; do wanted $tool; done
fi
