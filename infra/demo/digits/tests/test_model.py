"""The model: the right shape, and good enough on images it has never seen."""

import numpy as np
import pytest

from data import split
from model import BRIGHTEST, Model

ACCURACY_FLOOR = 0.95
WORST_DIGIT_FLOOR = 0.85


@pytest.fixture(scope="module")
def model():
    return Model.load()


@pytest.fixture(scope="module")
def held_out():
    _, _, images, labels = split()
    return images / BRIGHTEST, labels


def test_ten_finite_scores_per_image(model, held_out):
    images, _ = held_out
    scores = model.scores(images)
    assert scores.shape == (len(images), 10)
    assert np.isfinite(scores).all()


def test_accuracy_on_held_out_images(model, held_out):
    images, labels = held_out
    assert (model.predict(images) == labels).mean() >= ACCURACY_FLOOR


@pytest.mark.parametrize("digit", range(10))
def test_no_digit_is_left_behind(model, held_out, digit):
    images, labels = held_out
    own = labels == digit
    assert (model.predict(images[own]) == digit).mean() >= WORST_DIGIT_FLOOR


def test_a_blank_image_gets_an_answer(model):
    assert model.predict(np.zeros((1, 64)))[0] in range(10)
