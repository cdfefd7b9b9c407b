"""Diffusers' pipeline around the networks of a model, eager or compiled as the engine's."""

from typing import Any

from diffusers import StableDiffusionPipeline
from torch import Tensor, nn

from benchmarks.support.shaped_models import stable_diffusion
from diffusion import Engine
from diffusion.families.model import ImageModel
from diffusion.sampling.samplers import SAMPLERS
from diffusion.serving.worker_thread import WorkerThread


def build_pipeline(model: ImageModel, sampler: str, *, compiled: bool = False) -> StableDiffusionPipeline:
    """Build diffusers' pipeline around the networks of ``model``.

    With ``compiled``, it calls the very UNet that the engine calls since `ImageModel.compile`, which has compiled the others
    in place.
    """
    choice = SAMPLERS[sampler]
    family = stable_diffusion(model)
    pipeline = StableDiffusionPipeline(
        vae=family.vae,
        text_encoder=family.text_encoder,
        tokenizer=family.tokenizer,
        unet=family.unet,
        scheduler=choice.scheduler.from_config(family.scheduler_config, **choice.settings),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    if compiled:
        pipeline.unet = EngineUnet(model)
    return pipeline


class EngineUnet(nn.Module):
    """The UNet of a pipeline, by the network that the engine calls for ``model``."""

    def __init__(self, model: ImageModel) -> None:
        super().__init__()
        unet = stable_diffusion(model).unet
        self.config = unet.config
        self.dtype = unet.dtype
        self.device = unet.device
        self._model = model

    def forward(self, sample: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **_: Any) -> tuple[Tensor]:
        """Return the prediction, as diffusers' UNet does."""
        timesteps = timestep.float().expand(len(sample))
        prediction = self._model._network(sample, timesteps, prompt_embeds=encoder_hidden_states)
        return (prediction.to(sample.device, sample.dtype),)


def worker_thread(engine: Engine) -> WorkerThread:
    """Return the thread in which ``engine`` computes.

    Whatever is compared with the engine runs there too: a second thread has OpenMP threads of its own, and two such teams that
    take turns slow each other down by a third.
    """
    return engine._worker._worker
