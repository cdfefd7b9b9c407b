"""Muon for the matrices and AdamW for the rest, as one optimiser."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MuonWithAdamW:
    """Steps hidden weight matrices with Muon and all other parameters with AdamW.

    Muon orthogonalises the momentum of each matrix (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/).
    Convolutions are flattened to rows of output channels. Inputs, outputs, embeddings, norms and biases take AdamW. ``outer``
    lists parts of the names of such parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        learning_rate: float,
        adam_learning_rate: float,
        weight_decay: float,
        outer: Iterable[str],
    ) -> None:
        named = list(model.named_parameters())
        outside = tuple(outer)
        self.matrices = [
            parameter for name, parameter in named if parameter.ndim >= 2 and not any(part in name for part in outside)
        ]
        inner = {id(parameter) for parameter in self.matrices}
        rest = [parameter for _, parameter in named if id(parameter) not in inner]
        # Views of the parameters' storage: a step on them changes the parameters.
        self.flat = [nn.Parameter(parameter.data.flatten(1)) for parameter in self.matrices]
        self.muon = torch.optim.Muon(self.flat, lr=learning_rate, weight_decay=weight_decay)
        self.adam = torch.optim.AdamW(rest, lr=adam_learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        self.rates = (learning_rate, adam_learning_rate)

    def step(self, factor: float) -> None:
        """Take one step with the rates multiplied by ``factor``; clear the gradients."""
        for optimizer, rate in zip((self.muon, self.adam), self.rates, strict=True):
            for group in optimizer.param_groups:
                group["lr"] = rate * factor
        for flat, parameter in zip(self.flat, self.matrices, strict=True):
            flat.grad = None if parameter.grad is None else parameter.grad.flatten(1)
        self.muon.step()
        self.adam.step()
        for parameter in self.matrices:
            parameter.grad = None
        self.adam.zero_grad()

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Return the state of both optimisers."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: dict[str, dict[str, Tensor]]) -> None:
        """Load the state of both optimisers."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])
