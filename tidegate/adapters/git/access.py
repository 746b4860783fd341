"""The environment git runs in: nothing inherited that changes what it does, and secrets only for askpass.

Rules of hardening: no system or global configuration, no hooks, no prompts, only the allowed transports, no
redirects (they would carry a token to another host), no lazy fetching of single objects.
"""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import tempfile
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

from tidegate.adapters.git.address import Address, redact
from tidegate.settings import Settings

LOW_SPEED_SECONDS = 8
"""A transfer that moves no byte for this long is given up."""

_INHERITED = ("PATH", "HOME", "TMPDIR", "USER", "LOGNAME", "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")

_ASKPASS = """\
#!/bin/sh
# Git asks for a name or a password; the answers are in the environment, and only for the host they are for.
case "$1" in
  Username*[/@]"$TIDEGATE_ASKPASS_HOST'"*) printf '%s\\n' "$TIDEGATE_ASKPASS_USERNAME" ;;
  Password*[/@]"$TIDEGATE_ASKPASS_HOST'"*) printf '%s\\n' "$TIDEGATE_ASKPASS_PASSWORD" ;;
  *) exit 1 ;;
esac
"""

_CONFIGURATION = {
    "protocol.ext.allow": "never",
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.symlinks": "false",
    "core.quotePath": "false",
    "core.askPass": "",
    "credential.helper": "",
    "http.followRedirects": "false",
    "http.lowSpeedLimit": "1",
    "http.lowSpeedTime": str(LOW_SPEED_SECONDS),
    "http.postBuffer": str(16 * 1024 * 1024),
    "gc.auto": "0",
    "maintenance.auto": "false",
    "repack.writeBitmaps": "false",
    "fetch.recurseSubmodules": "false",
    "push.recurseSubmodules": "no",
    "submodule.recurse": "false",
    "transfer.bundleURI": "false",
    "transfer.fsckObjects": "false",
    "advice.statusHints": "false",
    "init.defaultBranch": "main",
}


def environment(address: Address, settings: Settings, mirror: Path) -> dict[str, str]:
    """Everything git gets to see; the process's own environment is not passed on."""
    env = {name: os.environ[name] for name in (*_INHERITED, *_PROXIES) if name in os.environ}
    env |= {
        "LC_ALL": "C",
        "LANGUAGE": "C",
        "GIT_DIR": str(mirror),
        "GIT_ALLOW_PROTOCOL": settings.git_protocols,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_SYSTEM": os.devnull,
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": ssh_command(settings),
        "GIT_SSH_VARIANT": "ssh",
    }
    if settings.git_ssh_key is None and (agent := os.environ.get("SSH_AUTH_SOCK")):
        env["SSH_AUTH_SOCK"] = agent
    env |= _numbered(_CONFIGURATION)
    if address.protocol in ("http", "https") and (credentials := _credentials(address, settings)):
        env["GIT_ASKPASS"] = str(_askpass(settings.home))
        env["TIDEGATE_ASKPASS_HOST"] = address.host
        env["TIDEGATE_ASKPASS_USERNAME"], env["TIDEGATE_ASKPASS_PASSWORD"] = credentials
    return env


def _numbered(configuration: Mapping[str, str]) -> dict[str, str]:
    env = {"GIT_CONFIG_COUNT": str(len(configuration))}
    for number, (key, value) in enumerate(configuration.items()):
        env |= {f"GIT_CONFIG_KEY_{number}": key, f"GIT_CONFIG_VALUE_{number}": value}
    return env


def _credentials(address: Address, settings: Settings) -> tuple[str, str] | None:
    """What the URL itself carries wins, because it was written for that repository."""
    if address.password is not None:
        return address.username or "", address.password
    if settings.git_token is None:
        return None
    return address.username or settings.git_username, settings.git_token.get_secret_value()


def ssh_command(settings: Settings) -> str:
    """`ssh` without the user's configuration, prompts or forwarding; unknown host keys are refused."""
    options = {
        "BatchMode": "yes",
        "StrictHostKeyChecking": "yes",
        "ConnectTimeout": "10",
        "ServerAliveInterval": "4",
        "ServerAliveCountMax": "2",
        "ForwardAgent": "no",
        "ClearAllForwardings": "yes",
        "PermitLocalCommand": "no",
    }
    if settings.git_known_hosts is not None:
        options |= {"UserKnownHostsFile": str(settings.git_known_hosts), "GlobalKnownHostsFile": os.devnull}
    words = ["ssh", "-F", os.devnull]
    if settings.git_ssh_key is not None:
        options |= {"IdentitiesOnly": "yes", "IdentityAgent": "none"}
        words += ["-i", str(settings.git_ssh_key)]
    for key, value in options.items():
        words += ["-o", f'{key}="{value}"' if " " in value else f"{key}={value}"]
    return shlex.join(words)


def _askpass(home: Path) -> Path:
    """The answering script. It holds no secret, so it may stay; written atomically, many processes start at
    once.
    """
    path = home / "mirrors" / "askpass"
    if path.exists() and path.read_text() == _ASKPASS:
        return path
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent)
    with contextlib.closing(os.fdopen(handle, "w")) as file:
        file.write(_ASKPASS)
    Path(name).chmod(0o700)
    Path(name).replace(path)
    return path


def secrets(address: Address, settings: Settings) -> tuple[str, ...]:
    """Every spelling of the credentials that could turn up in git's words, longest first."""
    found: set[str] = set()
    token = settings.git_token.get_secret_value() if settings.git_token else None
    for user, secret in ((address.username, address.password), (settings.git_username, token)):
        if secret:
            pair = f"{user or ''}:{secret}"
            found |= {secret, quote(secret, safe=""), quote(secret)}
            found |= {base64.b64encode(text.encode()).decode().rstrip("=") for text in (secret, pair)}
    return tuple(sorted((text for text in found if text), key=len, reverse=True))


def scrub(text: str, hidden: tuple[str, ...]) -> str:
    """The text without secrets and without user information in URLs."""
    for secret in hidden:
        text = text.replace(secret, "***")
    return redact(text)
