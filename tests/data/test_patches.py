"""Patches against plain slices of the images."""

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest

from jaxinfo.data import generate_patch_set, patch_grid

IMAGES = np.random.default_rng(0).normal(size=(3, 5, 6, 2)).astype(np.float32)


def sliced(images, patch, stride):
    h, w = images.shape[1:3]
    return np.array(
        [
            image[i : i + patch[0], j : j + patch[1]].ravel()
            for image in images
            for i in range(0, h - patch[0] + 1, stride[0])
            for j in range(0, w - patch[1] + 1, stride[1])
        ]
    )


@pytest.mark.parametrize(
    "patch, stride", [((2, 3), None), ((2, 2), (1, 2)), ((5, 6), None), ([3, 1], [2, 4])]
)
@pytest.mark.parametrize("channels", [0, 1, 2])
def test_grid(patch, stride, channels):
    images = IMAGES[..., :channels] if channels else IMAGES[..., 0]
    expected = sliced(images, patch, stride or patch)
    np.testing.assert_array_equal(patch_grid(images, patch, stride), expected)
    centred = expected - expected.mean(axis=1, keepdims=True)
    found = jax.jit(lambda x: patch_grid(x, patch, stride, center=True))(images)
    np.testing.assert_allclose(found, centred, atol=1e-6)


@pytest.mark.parametrize(
    "h, w, count, center", [(2, 3, 7, True), (1, 6, 40, False), (5, 6, 4, True), (4, 2, 1, False)]
)
def test_random_patches_are_patches_of_their_image(h, w, count, center):
    cut = jax.jit(lambda x, key: generate_patch_set(x, (h, w), count, center, key=key))
    found = np.asarray(cut(IMAGES, jr.key(h)))
    candidates = sliced(IMAGES, (h, w), (1, 1)).reshape(3, -1, h * w * 2)
    if center:
        candidates = candidates - candidates.mean(axis=2, keepdims=True)
    rows = min(count, candidates.shape[1])
    assert found.shape == (3 * rows, h * w * 2)
    for own, patches in zip(candidates, found.reshape(3, rows, -1), strict=True):
        distance = np.abs(own[None] - patches[:, None]).max(axis=2).min(axis=1)
        assert np.all(distance < 1e-5)


def test_places_are_uniform_and_drawn_with_replacement():
    places = np.arange(12.0, dtype=np.float32).reshape(1, 3, 4)
    draw = jax.jit(jax.vmap(lambda key: generate_patch_set(places, (1, 1), 12, False, key=key)))
    drawn = np.asarray(draw(jr.split(jr.key(0), 500))).reshape(500, 12).astype(int)
    counts = np.bincount(drawn.ravel(), minlength=12)
    assert np.all(np.abs(counts - 500) < 5 * (500 * 11 / 12) ** 0.5)
    assert np.mean([len(set(row)) == 12 for row in drawn]) < 0.01  # nearly always one twice
    np.testing.assert_array_equal(
        draw(jr.split(jr.key(0), 500)).reshape(500, 12), drawn
    )  # the key decides


def test_every_place_once_and_flattened_images():
    square = IMAGES[:, :5, :5, 0]
    expected = sliced(square, (2, 2), (1, 1))
    flat = generate_patch_set(square.reshape(3, 25), (2, 2), None, False)
    np.testing.assert_array_equal(flat, expected)
    np.testing.assert_array_equal(
        generate_patch_set(square, (5, 5), 7, False), square.reshape(3, -1)
    )
    assert generate_patch_set(square[:0], (2, 2), None).shape == (0, 4)


def test_integers_become_floats_and_halves_stay():
    whole = np.arange(32, dtype=np.uint8).reshape(2, 4, 4)
    np.testing.assert_array_equal(
        generate_patch_set(whole, (2, 2), None)[0], [-2.5, -1.5, 1.5, 2.5]
    )
    assert patch_grid(whole, (2, 2)).dtype == jnp.float32
    assert patch_grid(jnp.zeros((1, 4, 4), jnp.bfloat16), (2, 2)).dtype == jnp.bfloat16


def test_gradient_counts_the_patches_a_pixel_is_in():
    image = jnp.zeros((1, 4, 5))
    gradient = jax.grad(lambda x: generate_patch_set(x, (2, 2), None, False).sum())(image)[0]
    np.testing.assert_array_equal(gradient, np.outer([1, 2, 2, 1], [1, 2, 2, 2, 1]))


@pytest.mark.parametrize(
    "images, options, message",
    [
        (np.zeros((2, 12)), {"patch_size": (2, 2)}, "must be square; 12 pixels are not"),
        (np.zeros((2, 4, 4)), {"patch_size": (5, 2)}, "must fit into the image of 4 x 4"),
        (np.zeros((2, 4, 4)), {"patch_size": (0, 2)}, "must fit into the image"),
        (np.zeros((2, 4, 4)), {"patch_size": (2, 2), "max_patches": 0}, "at least 1, or None"),
        (np.zeros((2, 4, 4)), {"patch_size": (2, 2), "key": None}, "need `key=`"),
    ],
)
def test_bad_arguments(images, options, message):
    with pytest.raises(ValueError, match=message):
        generate_patch_set(images, **{"key": jr.key(0), **options})


def test_bad_strides_and_pairs():
    with pytest.raises(ValueError, match="`stride` must be at least 1"):
        patch_grid(np.zeros((2, 4, 4)), (2, 2), (0, 1))
    with pytest.raises(ValueError, match="`patch_size` must be a pair"):
        patch_grid(np.zeros((2, 4, 4)), [2, 2, 2])
