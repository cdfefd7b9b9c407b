"""`ImageDiffusionModel` of a popular Stable Diffusion notebook, on this engine."""

import copy
import inspect
import warnings
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, LMSDiscreteScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion.errors import ModelLoadError
from diffusion.families.model import ImageModel
from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.images.io import fit
from diffusion.loading.folder import PRETRAINED
from diffusion.loading.model import load_parts
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.denoise import Denoising, denoise
from diffusion.sampling.samplers import SAMPLERS, UNBOUNDED, linear_config, set_timesteps
from diffusion.sampling.solver import NotLinearError, Solver, linearize
from diffusion.sampling.trajectory import Trajectory, step


class ImageDiffusionModel:
    """A Stable Diffusion model with the tutorial's methods, names and defaults.

    ``scheduler_LMS`` makes images from noise and ``scheduler_DDIM`` makes similar ones. Both can be any scheduler of
    diffusers. Their configuration counts, and the instances stay unchanged. Latents are float32 on the CPU. Random numbers
    come from torch's global generator, so ``torch.manual_seed`` makes images repeatable.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        scheduler_LMS: Any,  # noqa: N803  # the tutorial's name
        scheduler_DDIM: Any,  # noqa: N803
    ) -> None:
        self.vae = vae
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.unet = unet
        self.scheduler_LMS = scheduler_LMS
        self.scheduler_DDIM = scheduler_DDIM
        self.device = unet.device
        self._model = ImageModel(StableDiffusion(vae, tokenizer, text_encoder, unet, dict(scheduler_LMS.config)))

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        attention: str | None = None,
        *,
        vae: str | None = None,
    ) -> "ImageDiffusionModel":
        """Load the components and both schedulers' configuration.

        The source is a folder or hub id in diffusers' layout, or one checkpoint file. Parameters, defaults and errors are
        those of `load_model`.
        """
        source = str(path_or_hub_id or PRETRAINED)
        loaded = load_parts(source, device, dtype, attention, vae=vae)
        if loaded.family is not StableDiffusion:
            raise ModelLoadError(source, f"it is no model for {StableDiffusion.pipeline}")
        parts = loaded.parts
        config = linear_config(parts["scheduler_config"])
        return cls(
            parts["vae"],
            parts["tokenizer"],
            parts["text_encoder"],
            parts["unet"],
            LMSDiscreteScheduler.from_config(config),
            DDIMScheduler.from_config(config),
        )

    def get_text_embeds(self, text: str | list[str]) -> Tensor:
        """Encode texts to (texts, tokens, width).

        Texts that are too long lose their end, with a warning.
        """
        texts = [text] if isinstance(text, str) else text
        limit = self._model.chunk_tokens
        for each in texts:
            count = len(self.tokenizer(each, verbose=False).input_ids) - 2
            if count > limit:
                message = f"The prompt has {count} tokens and the model reads {limit}: the last {count - limit} are ignored."
                warnings.warn(message, stacklevel=2)
        tokens = self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            masks_padding = getattr(self.text_encoder.config, "use_attention_mask", False)
            mask = tokens.attention_mask.to(self.device) if masks_padding else None
            text_embeds: Tensor = self.text_encoder(tokens.input_ids.to(self.device), attention_mask=mask).last_hidden_state
        return text_embeds

    def get_prompt_embeds(self, prompt: str | list[str]) -> Tensor:
        """Encode prompts with their unconditional rows: (2 x prompts, tokens, width).

        The rows of the empty prompt come first.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        conditional = self.get_text_embeds(prompts)
        unconditional = self.get_text_embeds([""] * len(prompts))
        return torch.cat([unconditional, conditional])

    def get_img_latents(
        self,
        text_embeds: Tensor,
        height: int = 512,
        width: int = 512,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        img_latents: Tensor | None = None,
    ) -> Tensor:
        """Denoise one latent image per prompt of ``text_embeds``.

        They start from ``img_latents`` (unit noise) or from fresh noise.
        """
        if img_latents is None:
            _, *shape = self._model.latent_shape(width, height)
            img_latents = torch.randn(len(text_embeds) // 2, *shape)
        scheduler = copy.deepcopy(self.scheduler_LMS)
        set_timesteps(scheduler, num_inference_steps)
        latents = img_latents.to("cpu", torch.float32) * scheduler.init_noise_sigma
        return self._sample(scheduler, 0, latents, text_embeds, guidance_scale)

    def get_img_latents_similar(
        self,
        img_latents: Tensor,
        text_embeds: Tensor,
        height: int = 512,
        width: int = 512,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        start_step: int = 10,
    ) -> Tensor:
        """Add noise to ``img_latents`` up to step ``start_step`` and denoise them.

        There is one latent image for all prompts of ``text_embeds``, or one for each. The result has their size; ``height``
        and ``width`` have no effect. At step 0 no noise is added.
        """
        scheduler = copy.deepcopy(self.scheduler_DDIM)
        set_timesteps(scheduler, num_inference_steps)
        start = start_step * scheduler.order
        _set_begin(scheduler, start)
        latents = img_latents.to("cpu", torch.float32).expand(len(text_embeds) // 2, -1, -1, -1)
        if start > 0:
            timesteps = scheduler.timesteps[start].repeat(len(latents))
            latents = scheduler.add_noise(latents, torch.randn(latents.shape), timesteps)
        return self._sample(scheduler, start, latents, text_embeds, guidance_scale)

    def encode_img_latents(self, imgs: Image.Image | list[Image.Image]) -> Tensor:
        """Encode images of one size to latents of unit variance.

        The latents are the mean of the autoencoder's posterior.
        """
        images = imgs if isinstance(imgs, list) else [imgs]
        values = torch.from_numpy(np.stack([np.asarray(image.convert("RGB"), np.float32) for image in images]))
        pixels = (values.permute(0, 3, 1, 2) / 127.5 - 1).to(self.device, self.vae.dtype)
        with torch.no_grad():
            return self._model.family.to_latents(pixels, None).cpu()

    def decode_img_latents(self, img_latents: Tensor) -> Tensor:
        """Decode latents to pixels (images, 3, height, width) in about [-1, 1]."""
        with torch.no_grad():
            return self._model.family.to_pixels(img_latents).float().cpu()

    def transform_imgs(self, imgs: Tensor) -> list[Image.Image]:
        """Convert pixels in [-1, 1] to images."""
        values = ((imgs / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        return [Image.fromarray(image.numpy()) for image in values.permute(0, 2, 3, 1)]

    def prompt_to_img(
        self,
        prompts: str | list[str],
        height: int = 512,
        width: int = 512,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        img_latents: Tensor | None = None,
    ) -> list[Image.Image]:
        """Make one image per prompt.

        They start from ``img_latents`` (unit noise) or from fresh noise.
        """
        text_embeds = self.get_prompt_embeds(prompts)
        latents = self.get_img_latents(text_embeds, height, width, num_inference_steps, guidance_scale, img_latents)
        return self.transform_imgs(self.decode_img_latents(latents))

    def similar_imgs(
        self,
        img: Image.Image | list[Image.Image],
        prompt: str | list[str],
        height: int = 512,
        width: int = 512,
        num_inference_steps: int = 50,
        guidance_scale: float = 7.5,
        start_step: int = 10,
    ) -> list[Image.Image]:
        """Make one image per prompt that resembles ``img``.

        ``img`` is scaled and cropped to ``width`` x ``height`` first. A later ``start_step`` keeps the result closer to it.
        """
        images = [fit(each, width, height) for each in (img if isinstance(img, list) else [img])]
        latents = self.get_img_latents_similar(
            self.encode_img_latents(images),
            self.get_prompt_embeds(prompt),
            height,
            width,
            num_inference_steps,
            guidance_scale,
            start_step,
        )
        return self.transform_imgs(self.decode_img_latents(latents))

    def _sample(self, scheduler: Any, start: int, latents: Tensor, text_embeds: Tensor, guidance_scale: float) -> Tensor:
        """Denoise ``latents`` with the timesteps of ``scheduler`` from index ``start`` on.

        All images share one network call per step.
        """
        timesteps = scheduler.timesteps[start:]
        solver = _solver_of(scheduler, start)
        # The unconditional row of each image, then its conditional one.
        pairs = torch.stack(text_embeds.to(self.device, self.unet.dtype).chunk(2), 1)
        trajectories = []
        for image, pair in zip(latents.split(1), pairs, strict=True):
            if solver is None:
                denoising = _by_scheduler(copy.deepcopy(scheduler), start, image)
            else:
                denoising = denoise(image, solver, torch.default_generator)
            trajectories.append(Trajectory(denoising, Conditions({"prompt_embeds": pair}), guidance_scale, len(timesteps)))
        for _ in tqdm(timesteps):
            step(self._model, trajectories)
            for trajectory in trajectories:
                if trajectory.error:
                    raise trajectory.error
        return torch.cat([cast(Tensor, trajectory.latents) for trajectory in trajectories])


def _solver_of(scheduler: Any, start: int) -> Solver | None:
    """Return the weights of a scheduler that the engine knows, or None.

    A scheduler that clips or thresholds has no weights, because its step is not linear.
    """
    known = isinstance(scheduler, tuple(sampler.scheduler for sampler in SAMPLERS.values()))
    bounded = any(scheduler.config.get(name) for name in UNBOUNDED)
    if not known or bounded:
        return None
    draws_noise = "generator" in inspect.signature(scheduler.step).parameters
    try:
        return linearize(copy.deepcopy(scheduler), start // scheduler.order, draws_noise)
    except NotLinearError:
        return None


def _by_scheduler(scheduler: Any, start: int, latents: Tensor) -> Denoising:
    """Denoise as `denoise` does, with the scheduler's own steps."""
    _set_begin(scheduler, start)
    for timestep in scheduler.timesteps[start:]:
        prediction = yield scheduler.scale_model_input(latents, timestep), timestep
        latents = scheduler.step(prediction, timestep, latents).prev_sample
    return latents


def _set_begin(scheduler: Any, start: int) -> None:
    """Let ``scheduler`` begin at index ``start``, which repeated timesteps do not show."""
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(start)
