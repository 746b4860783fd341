"""One Prefect task = at most one look, one decision, one act; `_retry` is the one rule for all of them."""
