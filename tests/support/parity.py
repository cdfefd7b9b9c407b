"""Draw with diffusers' own pipelines, and compare."""

from typing import Any

import torch

from diffusion.request import ImageRequest


def difference_of(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference, in parts of the largest value of ``theirs``."""
    return ((ours - theirs).abs().max() / theirs.abs().max()).item()


def pipeline_of(kind: Any, components: dict[str, Any]) -> Any:
    """Build diffusers' pipeline ``kind`` of ``components``."""
    made = kind(**components)
    made.set_progress_bar_config(disable=True)
    return made


def drawn_by_diffusers(pipeline: Any, request: ImageRequest, **settings: Any) -> torch.Tensor:
    """Return the latents of ``request`` by ``pipeline``; ``settings`` go before those of the request."""
    of_request = {
        "negative_prompt": request.negative_prompt,
        "height": request.height,
        "width": request.width,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance_scale,
        "generator": torch.Generator().manual_seed(request.seed),
        "output_type": "latent",
    }
    return pipeline(request.prompt, **of_request | settings).images
