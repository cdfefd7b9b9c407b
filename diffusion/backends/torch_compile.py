"""A UNet's calls compiled by torch, for one size of pictures and any number of rows from two on."""

import torch
from torch import Tensor

from diffusion.backends.cuda_graphs import Graphs, Network


class Compiled:
    """Calls ``network``, compiled by what `example` shows: latents of one size. Compiling takes a minute or more."""

    @torch.inference_mode()
    def __init__(self, network: Network, *example: Tensor) -> None:
        compiled = torch.compile(network)
        example = tuple(tensor.clone() for tensor in example)  # made in inference mode, as a step's are
        for tensor in example:
            torch._dynamo.mark_dynamic(tensor, 0)  # so that one compilation serves all numbers of rows
        compiled(*example)
        device, self._shape = example[0].device, example[0].shape[1:]
        self._ask: Network = Graphs(compiled, device) if device.type == "cuda" else compiled

    def fits(self, latents: Tensor) -> bool:
        """Whether latents of this shape can be asked about."""
        return len(latents) > 1 and latents.shape[1:] == self._shape

    def __call__(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Give the prediction."""
        return self._ask(latents, timesteps, prompt_embeds)
