"""One Prefect task = at most one look, one decision, one act; `_retry` is the one rule for all of them."""

import logging

for _ours in ("tidegate", "tasks", "flows"):
    # `extra_loggers` sends our lines to the run but sets no level, and the root level would let in every library.
    logging.getLogger(_ours).setLevel(logging.INFO)
