"""Train the model and write `weights.npz`. The same data and seed give the same weights.

python train.py
"""

import numpy as np

from data import split
from model import BRIGHTEST, WEIGHTS, Model

HIDDEN, EPOCHS, BATCH, RATE, DECAY, SEED = 32, 60, 50, 0.003, 1e-4, 7


def start(random):
    """Small random weights and zero biases."""
    return {
        "hidden": random.normal(0, 0.2, (64, HIDDEN)),
        "hidden_bias": np.zeros(HIDDEN),
        "output": random.normal(0, 0.2, (HIDDEN, 10)),
        "output_bias": np.zeros(10),
    }


def gradients(weights, images, labels):
    """Gradients of the cross-entropy with a little weight decay, one per weight array."""
    inner = np.maximum(images @ weights["hidden"] + weights["hidden_bias"], 0)
    scores = inner @ weights["output"] + weights["output_bias"]
    chances = np.exp(scores - scores.max(axis=1, keepdims=True))
    chances /= chances.sum(axis=1, keepdims=True)
    chances[np.arange(len(labels)), labels] -= 1
    error = chances / len(labels)
    back = (error @ weights["output"].T) * (inner > 0)
    return {
        "hidden": images.T @ back + DECAY * weights["hidden"],
        "hidden_bias": back.sum(axis=0),
        "output": inner.T @ error + DECAY * weights["output"],
        "output_bias": error.sum(axis=0),
    }


def train(images, labels):
    """Adam over shuffled batches; the arrays of a `Model`."""
    random = np.random.default_rng(SEED)
    weights = start(random)
    mean = {name: np.zeros_like(array) for name, array in weights.items()}
    square = {name: np.zeros_like(array) for name, array in weights.items()}
    step = 0
    for _ in range(EPOCHS):
        order = random.permutation(len(images))
        for batch in np.array_split(order, len(order) // BATCH):
            step += 1
            for name, slope in gradients(weights, images[batch], labels[batch]).items():
                mean[name] = 0.9 * mean[name] + 0.1 * slope
                square[name] = 0.999 * square[name] + 0.001 * slope**2
                scaled = np.sqrt(square[name] / (1 - 0.999**step)) + 1e-8
                weights[name] -= RATE * mean[name] / (1 - 0.9**step) / scaled
    return weights


def main():
    images, labels, held_out, answers = split()
    weights = {name: array.astype(np.float32) for name, array in train(images / BRIGHTEST, labels).items()}
    np.savez(WEIGHTS, **weights)
    accuracy = (Model.load().predict(held_out / BRIGHTEST) == answers).mean()
    print(f"{len(images)} images trained, {len(held_out)} held out: accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
