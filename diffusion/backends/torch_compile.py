"""A network compiled by torch, for one picture size and two or more rows."""

import torch
from torch import Tensor

from diffusion.backends.cuda_graphs import Graphs, Network


class Compiled:
    """Calls ``network``, compiled for latents of one size by an example call.

    Compiling takes a minute or more.
    """

    @torch.inference_mode()
    def __init__(self, network: Network, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> None:
        compiled = torch.compile(network)
        inputs = {"latents": latents, "timesteps": timesteps, **conditions}
        example = {
            name: tensor.clone() for name, tensor in inputs.items()
        }  # made in inference mode, like the tensors of a step
        for tensor in example.values():
            torch._dynamo.mark_dynamic(tensor, 0)  # so that one compilation serves all numbers of rows
        compiled(**example)
        self._shape = latents.shape[1:]
        self._network: Network = Graphs(compiled, latents.device) if latents.device.type == "cuda" else compiled

    def fits(self, latents: Tensor) -> bool:
        """Whether latents of this shape are those that were compiled."""
        return len(latents) > 1 and latents.shape[1:] == self._shape

    def __call__(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        """Return the prediction."""
        return self._network(latents=latents, timesteps=timesteps, **conditions)
