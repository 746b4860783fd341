"""Run a command that is killed, not asked, when whoever started it dies: `python abrupt.py COMMAND…`.

For the API server: asked to stop when etcd stops too, it waits for its storage for ever. Nothing here outlives it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from tidegate.running.leash import PR_SET_PDEATHSIG

if __name__ == "__main__":
    if sys.platform == "linux":  # elsewhere the leash itself stays, and kills what does not stop
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
