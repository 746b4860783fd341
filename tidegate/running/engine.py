"""`python -m tidegate.running.engine` is `python -m prefect.engine`, begun by a warm process where there is one.

Importing Prefect and the flows takes seconds, and every flow run is a process of its own. `warm` has imported them
once and forks; this process stays in front of the fork: it passes signals on, and ends as it ends.
Without a warm process, or with one that does not fit, it becomes `python -m prefect.engine`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

PLACE = "TIDEGATE_WARM"
"""The variable that names the warm process's socket."""
MESSAGE = 1 << 17
"""Most bytes of one message; an environment that is larger is left to Prefect."""
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


def begun_warm(place: str) -> int | None:
    """Let the process at `place` run this; its exit code (negative: the signal it died of), None if it does not."""
    try:
        line = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        line.connect(place)
        asked = json.dumps({"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
        if len(asked) > MESSAGE:
            return None
        socket.send_fds(line, [asked], [0, 1, 2])
        if line.recv(64) != b"begun":
            return None
    except OSError:
        return None
    for number in PASSED_ON:
        signal.signal(number, lambda got, _: line.send(str(int(got)).encode()))
    try:
        return int(line.recv(64) or -signal.SIGKILL)
    except OSError:
        return -signal.SIGKILL


def main() -> None:
    """Run the flow run that Prefect's variables name; ends as it ends."""
    place = os.environ.get(PLACE)
    code = begun_warm(place) if place and sys.platform == "linux" else None
    if code is None:
        words = [sys.executable, "-m", "prefect.engine", *sys.argv[1:]]
        os.execv(words[0], words)  # noqa: S606  # nosec B606
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main()
