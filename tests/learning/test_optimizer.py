import math

import torch

from mdncli.density.network import Architecture
from mdncli.learning.network import Perceptron
from mdncli.learning.optimizer import AveragedAdam

SHAPE = Architecture(2, (4,), "tanh", "diagonal", 1e-4, 1)
CPU = torch.device("cpu")


def network() -> Perceptron:
    return Perceptron(3, SHAPE, 6, torch.Generator().manual_seed(0))


def test_steps_agree_with_torch() -> None:
    ours, theirs = network(), network()
    theirs.hold([p.requires_grad_() for p in theirs.parameters()])
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.3)
    decayed = [p for p in theirs.parameters() if p.ndim > 1]
    rest = [p for p in theirs.parameters() if p.ndim == 1]
    groups = [{"params": decayed, "weight_decay": 0.3}, {"params": rest, "weight_decay": 0.0}]
    reference = torch.optim.AdamW(groups, betas=(0.9, 0.99), eps=1e-8)
    generator = torch.Generator().manual_seed(1)
    for step in range(20):
        rate = 0.01 * (1.0 + math.sin(step))
        x = torch.randn(8, 3, generator=generator)
        gradient = torch.randn(6, 8, generator=generator)
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
    ours = network()
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.1)
    before = optimizer.state()
    for bad in (math.nan, math.inf):
        assert not optimizer.step(ours(torch.ones(8, 3)), torch.full((6, 8), bad), 0.01)
    for now, then in zip(optimizer.state(), before, strict=True):
        torch.testing.assert_close(now, then, rtol=0, atol=0)


def test_the_network_holds_the_average_only_inside_the_block() -> None:
    ours = network()
    optimizer = AveragedAdam(ours, CPU, weight_decay=0.0)
    generator = torch.Generator().manual_seed(2)
    for _ in range(40):
        x = torch.randn(8, 3, generator=generator)
        optimizer.step(ours(x), torch.randn(6, 8, generator=generator), 0.01)
    current, average = optimizer.state()
    assert not torch.equal(current, average)
    with optimizer.averaged():
        inside = torch.cat([p.detach().reshape(-1) for p in ours.parameters()])
    torch.testing.assert_close(inside, average, rtol=0, atol=0)
    torch.testing.assert_close(optimizer.weights, current, rtol=0, atol=0)
