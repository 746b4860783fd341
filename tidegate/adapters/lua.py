"""The user's health scripts, run in a child process that can be killed: Argo CD's Lua, without any I/O.

One child serves all objects of this process, one at a time; a script that runs too long costs only the child.
LuaJIT itself is never loaded here.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tidegate.domain.health import Health, HealthStatus
from tidegate.domain.health.scripts import FILE, Script, Scripts
from tidegate.domain.manifests import Manifest
from tidegate.errors import PluginError

SECONDS = 1.0
"""CPU time of one script (Argo CD's limit; CPU time, so that a busy machine fails no script)."""
MEMORY = 64 * 2**20
"""Bytes one script may use."""
_PATIENCE_SECONDS = 30.0
"""Wall time for an answer, starting the child included."""
INVALID = "Lua returned an invalid health status"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script said, in Argo CD's terms."""

    status: str
    """A `HealthStatus`, or empty when the script returned nothing or an empty table."""
    message: str = ""
    error: str = ""
    """Why there is no answer: it raised, ran too long, or returned something that is no table."""


class Lua:
    """Runs scripts in its child; safe to use from many threads, and after a fork."""

    def __init__(self, seconds: float = SECONDS, memory: int = MEMORY) -> None:
        self._seconds, self._memory = seconds, memory
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def run(self, script: Script, obj: Manifest) -> Answer:
        """The script's answer for one object; whatever the script does is an answer, too."""
        asked = {"text": script.text, "obj": obj}
        line = json.dumps(asked).encode() + b"\n"
        with self._lock:
            said = self._exchange(line)
        if isinstance(said, str):
            return Answer(HealthStatus.Unknown, error=f"{script.source}: {said}")
        found = json.loads(said)
        if "error" in found:
            words = str(
                found["error"]
            )  # Lua cuts long names, so the child calls every script by its file's name
            at = words.removeprefix(FILE) if words.startswith(f"{FILE}:") else f": {words}"
            return Answer(HealthStatus.Unknown, error=f"{script.source}{at}")
        if found["status"] is None:
            return Answer("")
        return _checked(found["status"], found["message"])

    def close(self) -> None:
        """End the child, if there is one; the next script starts another."""
        with self._lock:
            self._end()

    def forget(self) -> None:
        """After a fork: the child is our parent's, and so may be whoever held the lock."""
        child, self._child, self._lock = self._child, None, threading.Lock()
        if child is not None:
            assert child.stdin and child.stdout
            child.stdin.close()
            child.stdout.close()
            child.returncode = 0  # not ours to wait for

    def _exchange(self, line: bytes) -> bytes | str:
        """The answer's line, or why there is none."""
        child = self._running()
        assert child.stdin and child.stdout
        try:
            child.stdin.write(line)
            child.stdin.flush()
        except BrokenPipeError:
            return self._why()
        end, parts = time.monotonic() + _PATIENCE_SECONDS, bytearray()
        with selectors.DefaultSelector() as ready:
            ready.register(child.stdout, selectors.EVENT_READ)
            while not parts.endswith(b"\n"):
                if not ready.select(max(0.0, end - time.monotonic())):
                    self._end()
                    return f"no answer within {_PATIENCE_SECONDS:g} s"
                data = os.read(child.stdout.fileno(), 65536)
                if not data:
                    return self._why()
                parts += data
        return bytes(parts)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            program = Path(__file__).with_name("lua_child.py")
            limits = [str(self._seconds), str(self._memory)]
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(program), _folder_of_lupa(), *limits],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={},
                cwd="/",
                start_new_session=True,
            )
        return self._child

    def _why(self) -> str:
        code = self._end()
        if code == -signal.SIGPROF:
            return f"ran for more than {self._seconds:g} s and was stopped"
        return f"its process ended with {code}"

    def _end(self) -> int | None:
        child, self._child = self._child, None
        if child is None:
            return None
        assert child.stdin and child.stdout
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(self._seconds)
        child.kill()
        code = child.wait()
        child.stdout.close()
        return code


def _folder_of_lupa() -> str:
    from importlib.util import find_spec

    found = find_spec("lupa")
    if found is None or not found.origin:
        raise PluginError("health scripts need the package lupa; install it beside tidegate")
    return str(Path(found.origin).parent.parent)


def _checked(status: str, message: str) -> Answer:
    if status not in HealthStatus.__members__:
        return Answer(HealthStatus.Unknown, INVALID)
    return Answer(status, message)


LUA = Lua()
"""The one of this process."""
atexit.register(LUA.close)
os.register_at_fork(after_in_child=LUA.forget)


class Scripted:
    """The fleet's scripts as a rule of health: `Scripted(scripts)(obj)` is a `Health`, or None without a script."""

    def __init__(self, scripts: Scripts, lua: Lua = LUA) -> None:
        self.scripts, self._lua = scripts, lua

    def __call__(self, obj: Manifest) -> Health | None:
        """What the script for the object's kind says of it."""
        script = self.scripts.of(obj)
        if script is None:
            return None
        said = self._lua.run(script, obj)
        if said.error:
            return Health(HealthStatus.Unknown, said.error)
        if not said.status:
            # Argo CD's waves wait on for a status that is none
            return Health(HealthStatus.Progressing, f"{script.source} says nothing yet")
        return Health(HealthStatus(said.status), said.message)
