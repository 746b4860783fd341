"""Counters and one histogram, in the text format Prometheus reads."""

import threading
from bisect import bisect_left
from collections import Counter

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
CODES = (200, 400, 500)
OUTCOMES = ("right", "wrong", "failed", "unlabelled")


class Metrics:
    """What this process has answered so far. Every series exists from the start, at zero."""

    def __init__(self):
        self.lock = threading.Lock()
        self.requests = Counter(dict.fromkeys(CODES, 0))
        self.predictions = Counter(dict.fromkeys(OUTCOMES, 0))
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0

    def count(self, code, outcome, seconds):
        """One request to `/predict`; `outcome` is None when there was nothing to predict."""
        with self.lock:
            self.requests[code] += 1
            self.buckets[bisect_left(BUCKETS, seconds)] += 1
            self.seconds += seconds
            if outcome is not None:
                self.predictions[outcome] += 1

    def text(self):
        """The exposition."""
        with self.lock:
            lines = ["# TYPE digits_requests_total counter"]
            lines += [f'digits_requests_total{{code="{code}"}} {n}' for code, n in self.requests.items()]
            lines += ["# TYPE digits_predictions_total counter"]
            lines += [
                f'digits_predictions_total{{outcome="{name}"}} {n}' for name, n in self.predictions.items()
            ]
            lines += ["# TYPE digits_request_duration_seconds histogram"]
            lines += self.histogram()
        return "\n".join(lines) + "\n"

    def histogram(self):
        name, below, lines = "digits_request_duration_seconds", 0, []
        for bound, n in zip((*BUCKETS, "+Inf"), self.buckets, strict=True):
            below += n
            lines.append(f'{name}_bucket{{le="{bound}"}} {below}')
        return [*lines, f"{name}_sum {self.seconds:.6f}", f"{name}_count {below}"]
