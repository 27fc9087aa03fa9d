import math

import torch

from mdncli.density.network import Architecture
from mdncli.learning.network import Perceptrons
from mdncli.learning.optimizer import AveragedAdam

SHAPE = Architecture(2, (4,), "tanh", "diagonal", 1)
MEMBERS = 3
CPU = torch.device("cpu")


def networks(members: int) -> Perceptrons:
    return Perceptrons(members, (3, 0), SHAPE, 6, torch.Generator().manual_seed(0))


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
        x = torch.randn(1, 3, 8, generator=generator)
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
        assert not optimizer.step(ours(torch.ones(MEMBERS, 3, 8)), gradient, 0.01)
    for now, then in zip(optimizer.state(), before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)


def test_the_networks_have_the_averaged_weights_only_inside_the_block() -> None:
    ours = networks(MEMBERS)
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.0)
    generator = torch.Generator().manual_seed(2)
    for _ in range(40):
        x = torch.randn(MEMBERS, 3, 8, generator=generator)
        optimizer.step(ours(x), gradients(generator, MEMBERS), 0.01)
    current, average = optimizer.state()
    assert not torch.equal(current, average)
    with optimizer.averaged():
        inside = torch.cat([p.detach().flatten(1) for p in ours.parameters()], 1)
    torch.testing.assert_close(inside, average, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.weights, current, rtol=0, atol=0)


def test_members_learn_as_they_would_alone() -> None:
    together, alone = networks(MEMBERS), networks(MEMBERS)
    alone.set_parameters([p[1:2].clone() for p in alone.parameters()])
    optimizers = [AveragedAdam(each, CPU, weight_decay=0.1) for each in (together, alone)]
    generator = torch.Generator().manual_seed(5)
    for _ in range(10):
        x, gradient = torch.randn(MEMBERS, 3, 8, generator=generator), gradients(generator, MEMBERS)
        # The gradient of one member is clipped, and those of the others are not.
        gradient[0] *= 1e3
        optimizers[0].step(together(x), gradient, 0.01)
        optimizers[1].step(alone(x[1:2]), gradient[1:2], 0.01)
    torch.testing.assert_close(optimizers[0].weights[1:2], optimizers[1].weights)


def test_a_restored_state_has_no_momentum() -> None:
    ours, fresh = networks(1), networks(1)
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.0)
    start = optimizer.state()
    generator = torch.Generator().manual_seed(2)
    x, gradient = torch.randn(1, 3, 8, generator=generator), gradients(generator, 1)
    for _ in range(3):
        optimizer.step(ours(x), -gradient, 0.01)
    optimizer.restore(start)
    optimizer.step(ours(x), gradient, 0.01)
    expected = AveragedAdam(fresh, CPU, weight_decay=0.0)
    expected.step(fresh(x), gradient, 0.01)
    torch.testing.assert_close(optimizer.weights, expected.weights, rtol=0, atol=0)
