"""The images: 1,797 handwritten digits, 8×8 pixels of 0..16, split once and for all by position."""

import csv
import gzip
from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "data" / "digits.csv.gz"
HELD_OUT_EVERY = 4


def load():
    """All images as an (n, 64) array of pixels and their labels as an (n,) array."""
    with gzip.open(FILE, "rt", newline="") as text:
        rows = np.array([[int(cell) for cell in row] for row in csv.reader(text)])
    return rows[:, :64], rows[:, 64]


def split():
    """Training images and labels, held-out images and labels: every fourth image is never trained on."""
    images, labels = load()
    held_out = np.arange(len(images)) % HELD_OUT_EVERY == 0
    return images[~held_out], labels[~held_out], images[held_out], labels[held_out]
