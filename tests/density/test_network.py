"""The forward pass without PyTorch equals that of the network that learns."""

import itertools

import numpy as np
import pytest
import torch
from threadpoolctl import threadpool_info

from mdncli.density.network import ACTIVATIONS, Architecture, Perceptron, split_head
from mdncli.learning.network import Perceptrons, nll_and_gradient

MEMBERS, FEATURES, TARGETS, COMPONENTS, ROWS = 2, 4, 3, 5, 50
MIN_SIGMA = np.array([1e-4, 0.3, 0.02])


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
@pytest.mark.parametrize("activation", list(ACTIVATIONS))
def test_numpy_and_torch_give_the_same_log_density(activation: str, covariance: str) -> None:
    architecture = Architecture(COMPONENTS, (7, 5), activation, covariance, 2)
    outputs = architecture.head_width(TARGETS)
    generator = torch.Generator().manual_seed(1)
    networks = Perceptrons(MEMBERS, (FEATURES - 1, 1), architecture, outputs, generator)
    # These weights are larger than those a network starts with, so that every term matters.
    networks.set_parameters([2.0 * p.double() for p in networks.parameters()])
    x = torch.randn(MEMBERS, FEATURES, ROWS, dtype=torch.float64, generator=generator)
    y = torch.randn(MEMBERS, TARGETS, ROWS, dtype=torch.float64, generator=generator)
    min_sigma = torch.tensor(architecture.limits_of_sigmas(MIN_SIGMA))
    embedded = networks.embed(x.mT).mT
    nll, _ = nll_and_gradient(networks(embedded), y, architecture, min_sigma)
    for member, network in enumerate(networks.to_numpy()):
        mixture = split_head(network(x[member].T.numpy()), architecture, MIN_SIGMA)
        found = mixture.log_prob(y[member].T.numpy())
        np.testing.assert_allclose(found, -nll[member].numpy(), rtol=0, atol=1e-9)


@pytest.mark.parametrize("covariance", ["diagonal", "isotropic", "full"])
def test_no_scale_is_larger_than_its_maximum(covariance: str) -> None:
    architecture = Architecture(COMPONENTS, (4,), "tanh", covariance, 0)
    raw = np.zeros((2, architecture.head_width(TARGETS)))
    _, _, log_scales, _ = np.split(raw, np.cumsum(architecture.head_sizes(TARGETS))[:-1], axis=1)
    log_scales[1] = 70.0
    most = np.array([5.0, 2.0, 9.0])
    mixture = split_head(raw, architecture, MIN_SIGMA, most, sigma_scale=1.5)
    free = split_head(raw, architecture, MIN_SIGMA, sigma_scale=1.5)
    assert free.sigma[1].min() > 1e29
    limit = np.full(TARGETS, most.max()) if covariance == "isotropic" else most
    np.testing.assert_allclose(mixture.sigma[1], np.tile(1.5 * limit, (COMPONENTS, 1)), rtol=1e-2)
    np.testing.assert_array_equal(mixture.sigma[0], free.sigma[0])


def perceptron(widths: list[int], seed: int = 0) -> Perceptron:
    """Return a network with random weights and no periodic inputs."""
    rng = np.random.default_rng(seed)
    layers = [
        (rng.normal(size=(after, before)) / np.sqrt(before), rng.normal(size=after))
        for before, after in itertools.pairwise(widths)
    ]
    return Perceptron("tanh", np.empty((0, 0)), layers)


@pytest.mark.parametrize("widths", [[3, 512, 512, 7], [2, 300, 1000, 5], [20_000, 40, 3]])
def test_the_products_of_wide_layers_are_those_of_one_product(widths: list[int]) -> None:
    """Wide layers are computed in blocks, also where the width is no multiple of a block."""
    network = perceptron(widths)
    x = np.random.default_rng(1).normal(size=(37, widths[0]))
    expected = x
    for position, (weight, bias) in enumerate(network.layers):
        expected = expected @ weight.T + bias
        if position < len(network.layers) - 1:
            expected = np.tanh(expected)
    np.testing.assert_allclose(network(x), expected, rtol=1e-10, atol=1e-10)


def test_a_row_of_a_wide_network_does_not_depend_on_the_rows_around_it() -> None:
    network = perceptron([3, 512, 300, 7])
    x = np.random.default_rng(1).normal(size=(100, 3))
    whole = network(x, precision=np.float32)
    alone = np.concatenate([network(row[None], precision=np.float32) for row in x])
    np.testing.assert_allclose(whole, alone, rtol=0, atol=1e-5)


def test_no_rows_give_no_outputs() -> None:
    for precision in (np.float32, np.float64):
        assert perceptron([3, 512, 7])(np.zeros((0, 3)), precision=precision).shape == (0, 7)


def test_the_number_of_blas_threads_stays() -> None:
    before = threadpool_info()
    perceptron([3, 512, 512, 7])(np.zeros((5000, 3)))
    assert threadpool_info() == before
