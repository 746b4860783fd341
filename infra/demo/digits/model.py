"""The model: 64 pixels in, ten scores out. One hidden layer, numpy only, weights in `weights.npz`."""

from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).parent / "weights.npz"
BRIGHTEST = 16


class Model:
    """A trained network; build one with `load` or, when training, from arrays."""

    def __init__(self, hidden, hidden_bias, output, output_bias):
        self.hidden, self.hidden_bias = hidden, hidden_bias
        self.output, self.output_bias = output, output_bias

    @classmethod
    def load(cls, path=WEIGHTS):
        """The model that `train.py` wrote."""
        with np.load(path) as arrays:
            return cls(**{name: arrays[name] for name in arrays.files})

    def scores(self, images):
        """Scores of the ten digits, shape (n, 10), for images of shape (n, 64) with pixels of 0..1."""
        inner = np.maximum(images @ self.hidden + self.hidden_bias, 0)
        return inner @ self.output + self.output_bias

    def predict(self, images):
        """The likeliest digit of each image, shape (n,)."""
        return self.scores(images).argmax(axis=1)
