import math

import numpy as np
import pytest
import torch

from mdncli.density.network import Architecture
from mdncli.learning.network import Perceptrons
from mdncli.learning.optimizer import AveragedAdam, Soap

SHAPE = Architecture(2, (4,), "tanh", "diagonal", 1)
MEMBERS = 3
CPU = torch.device("cpu")


def networks(members: int) -> Perceptrons:
    return Perceptrons(members, (1, 2), SHAPE, 6, torch.Generator().manual_seed(0))


def gradients(generator: torch.Generator, members: int) -> torch.Tensor:
    return torch.randn(members, 6, 8, generator=generator)


def test_steps_agree_with_torch() -> None:
    ours, theirs = networks(1), networks(1)
    theirs.set_parameters([p.requires_grad_() for p in theirs.parameters()])
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.3)
    decayed = [p for p in theirs.parameters() if p.ndim > 2]
    rest = [p for p in theirs.parameters() if p.ndim == 2]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8)
    generator = torch.Generator().manual_seed(1)
    for step in range(20):
        rate = 0.01 * (1.0 + math.sin(step))
        x = torch.randn(1, 5, 8, generator=generator)
        gradient = gradients(generator, 1)
        assert optimizer.step(ours(x), gradient, rate)
        reference.zero_grad()
        theirs(x).backward(gradient)
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-6)


def test_a_step_with_nan_changes_nothing() -> None:
    ours = networks(MEMBERS)
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.1)
    before = optimizer.state()
    for bad in (math.nan, math.inf):
        gradient = torch.ones(MEMBERS, 6, 8)
        gradient[1, 2, 3] = bad
        assert not optimizer.step(ours(torch.ones(MEMBERS, 5, 8)), gradient, 0.01)
    for now, then in zip(optimizer.state(), before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)


def test_the_networks_have_the_averaged_weights_only_inside_the_block() -> None:
    ours = networks(MEMBERS)
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.0)
    generator = torch.Generator().manual_seed(2)
    for _ in range(40):
        x = torch.randn(MEMBERS, 5, 8, generator=generator)
        optimizer.step(ours(x), gradients(generator, MEMBERS), 0.01)
    current, average = optimizer.state()
    assert not torch.equal(current, average)
    with optimizer.replaced(optimizer.average):
        inside = torch.cat([p.detach().flatten(1) for p in ours.parameters()], 1)
    torch.testing.assert_close(inside, average, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.weights, current, rtol=0, atol=0)


@pytest.mark.parametrize("kind", [AveragedAdam, Soap])
def test_members_learn_as_they_would_alone(kind: type[AveragedAdam]) -> None:
    together, alone = networks(MEMBERS), networks(MEMBERS)
    alone.set_parameters([p[1:2].clone() for p in alone.parameters()])
    # In float64, because eigenvectors of almost equal eigenvalues depend on the last bits.
    for each in (together, alone):
        each.set_parameters([p.double() for p in each.parameters()])
    optimizers = [kind(each, CPU, weight_decay=0.1) for each in (together, alone)]
    generator = torch.Generator().manual_seed(5)
    for _ in range(10):
        x = torch.randn(MEMBERS, 5, 8, generator=generator).double()
        gradient = gradients(generator, MEMBERS).double()
        # The gradient of one member is clipped, and those of the others are not.
        gradient[0] *= 1e3
        optimizers[0].step(together(x), gradient, 0.01)
        optimizers[1].step(alone(x[1:2]), gradient[1:2], 0.01)
    torch.testing.assert_close(optimizers[0].weights[1:2], optimizers[1].weights)


class DenseSoap:
    """Soap for one square matrix, by the rotation of all its entries as one dense matrix."""

    def __init__(self, weight: np.ndarray) -> None:
        size = len(weight)
        self.weight = weight
        self.left, self.right = np.zeros((2, size, size))
        self.first, self.second = np.zeros((2, size * size))
        self.steps = 0

    def step(self, slope: np.ndarray, rate: float, decay: float) -> None:
        self.steps += 1
        self.left = 0.95 * self.left + 0.05 * slope @ slope.T
        self.right = 0.95 * self.right + 0.05 * slope.T @ slope
        if self.steps == 1:
            self.bases = [np.linalg.eigh(each)[1] for each in (self.left, self.right)]
        elif self.steps % 40 == 0:
            pairs = zip((self.left, self.right), self.bases, strict=True)
            self.bases = [np.linalg.qr(each @ basis)[0] for each, basis in pairs]
        rotation = np.kron(*self.bases)
        self.first = 0.95 * self.first + 0.05 * slope.ravel()
        self.second = 0.95 * self.second + 0.05 * (rotation.T @ slope.ravel()) ** 2
        correction = 1.0 - 0.95**self.steps
        spread = np.sqrt(self.second / correction) + 1e-8
        direction = rotation @ (rotation.T @ self.first / correction / spread)
        self.weight = (1.0 - rate * decay) * self.weight - rate * direction.reshape(slope.shape)


def test_soap_agrees_with_a_dense_implementation() -> None:
    size, rows = 4, 9
    shape = Architecture(1, (), "tanh", "diagonal", 0)
    ours = Perceptrons(1, (0, size), shape, size, torch.Generator().manual_seed(0))
    ours.set_parameters([p.double() for p in ours.parameters()])
    weight, bias = (p[0].numpy().copy() for p in ours.parameters())
    optimizer, dense = Soap(ours, CPU, weight_decay=0.3), DenseSoap(weight)
    moments = np.zeros((2, size))
    generator = torch.Generator().manual_seed(1)
    # The eigenvectors are turned in steps 40 and 80.
    for step in range(1, 86):
        x = torch.randn(1, size, rows, generator=generator).double()
        gradient = (0.3 * torch.randn(1, size, rows, generator=generator)).double()
        assert optimizer.step(ours(x), gradient, 0.01)
        slope, of_bias = gradient[0].numpy() @ x[0].numpy().T, gradient[0].numpy().sum(1)
        norm = np.sqrt((slope**2).sum() + (of_bias**2).sum())
        slope, of_bias = slope / max(1.0, norm), of_bias / max(1.0, norm)
        dense.step(slope, 0.01, 0.3)
        # A bias has Adam's update.
        moments = 0.95 * moments + 0.05 * np.stack([of_bias, of_bias**2])
        first, second = moments / (1.0 - 0.95**step)
        bias = bias - 0.01 * first / (np.sqrt(second) + 1e-8)
        found = [p[0].detach().numpy() for p in ours.parameters()]
        np.testing.assert_allclose(found[0], dense.weight, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found[1], bias, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", [AveragedAdam, Soap])
def test_a_restored_state_has_no_momentum(kind: type[AveragedAdam]) -> None:
    ours, fresh = networks(1), networks(1)
    optimizer = kind(ours, CPU, weight_decay=0.0)
    start = optimizer.state()
    generator = torch.Generator().manual_seed(2)
    x, gradient = torch.randn(1, 5, 8, generator=generator), gradients(generator, 1)
    for _ in range(3):
        optimizer.step(ours(x), -gradient, 0.01)
    optimizer.restore(start)
    optimizer.step(ours(x), gradient, 0.01)
    expected = kind(fresh, CPU, weight_decay=0.0)
    expected.step(fresh(x), gradient, 0.01)
    torch.testing.assert_close(optimizer.weights, expected.weights, rtol=0, atol=0)
