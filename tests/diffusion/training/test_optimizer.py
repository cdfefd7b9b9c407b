import torch
from torch import Tensor, nn

from diffusion.training.optimizer import MuonWithAdamW


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 8, 3), nn.SiLU(), nn.Flatten(), nn.Linear(128, 4))


def optimizer_of(model: nn.Module) -> MuonWithAdamW:
    return MuonWithAdamW(model, learning_rate=0.02, adam_learning_rate=0.002, weight_decay=0.01, outer=("0.", "5."))


def descend(model: nn.Module, optimizer: MuonWithAdamW, steps: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    pictures, targets = torch.randn(16, 3, 8, 8, generator=generator), torch.randn(16, 4, generator=generator)
    loss = torch.zeros(())
    for _ in range(steps):
        loss = (model(pictures) - targets).pow(2).mean()
        loss.backward()
        optimizer.step(1.0)
    return loss.detach()


def test_optimizer_reduces_the_loss():
    model = network()
    optimizer = optimizer_of(model)

    first, last = descend(model, optimizer, 1), descend(model, optimizer, 40)

    assert last < 0.5 * first


def test_optimizer_gives_inner_matrices_to_muon():
    model = network()
    optimizer = optimizer_of(model)
    before = [parameter.detach().clone() for parameter in model.parameters()]

    descend(model, optimizer, 1)

    assert [parameter is model[2].weight for parameter in optimizer.matrices] == [True]
    assert all(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_optimizer_resumes_exactly():
    straight, stopped, resumed = network(), network(), network()
    descend(straight, optimizer_of(straight), 6)

    optimizer = optimizer_of(stopped)
    descend(stopped, optimizer, 3)
    resumed.load_state_dict(stopped.state_dict())
    second = optimizer_of(resumed)
    second.load_state_dict(optimizer.state_dict())
    descend(resumed, second, 3)

    assert all(torch.equal(a, b) for a, b in zip(straight.parameters(), resumed.parameters(), strict=True))
