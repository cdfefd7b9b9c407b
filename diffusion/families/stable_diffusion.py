"""The four components of a latent diffusion model, and the only file that calls them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from torch import Tensor
from torch.nn.functional import max_pool2d
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion.backends.cuda_graphs import Graphs, Network
from diffusion.backends.openvino import OpenVino, is_installed
from diffusion.backends.torch_compile import Compiled
from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.families.defaults import Defaults
from diffusion.families.latent_preview import fit_projection, to_bytes, to_images, to_strip
from diffusion.families.spec import ModelSpec
from diffusion.images.io import fit
from diffusion.images.masks import fit_mask, restore_unmasked
from diffusion.loading.folder import PRETRAINED, load
from diffusion.request import ImageRequest, random_seed
from diffusion.sampling.denoise import SAMPLERS, InpaintContext, denoise, slerp
from diffusion.sampling.guidance import predict_x_0
from diffusion.sampling.trajectory import Branch, LabelGuidance, Trajectory, develop

PROMPTS_CACHED, SOLVERS_CACHED = 64, 64
TILE_SIDE = 1024  # larger pictures go through the autoencoder in overlapping tiles, which bounds the memory that takes


class StableDiffusion(ModelSpec):
    """A Stable Diffusion model taken apart: autoencoder, tokenizer, text encoder, UNet and noise schedule.

    It may have a classifier of noisy latents besides, in float32, whose labels, `guide_labels`, requests can steer towards.
    Methods that call networks are meant for one thread at a time; `count_tokens` and the properties are safe anywhere.
    """

    def __init__(
        self,
        vae: AutoencoderKL,
        tokenizer: CLIPTokenizer,
        text_encoder: CLIPTextModel,
        unet: UNet2DConditionModel,
        scheduler_config: dict[str, Any],
        *,
        name: str = "model",
        defaults: Defaults | None = None,
        classifier: NoisyLatentClassifier | None = None,
    ) -> None:
        self.vae, self.tokenizer, self.text_encoder, self.unet = vae, tokenizer, text_encoder, unet
        self.scheduler_config = scheduler_config
        self.name, self.defaults = name, defaults or Defaults()
        self.classifier = classifier
        self.guide_labels = classifier.labels if classifier else ()
        self.device, self.dtype = unet.device, unet.dtype
        self.latent_factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.latent_channels = unet.config.in_channels
        self.sample_side = unet.config.sample_size * self.latent_factor
        self.prediction_type: str = scheduler_config.get("prediction_type", "epsilon")
        self.alphas_cumprod = DDIMScheduler.from_config(scheduler_config).alphas_cumprod
        self.encode_prompt = lru_cache(PROMPTS_CACHED)(self._encode_prompt)
        self.solver = lru_cache(SOLVERS_CACHED)(lambda sampler, *steps: SAMPLERS[sampler].solver(scheduler_config, *steps))
        self._projection: Tensor | None = None
        self._ask: Network = Graphs(self._call_unet, self.device) if self.device.type == "cuda" else self._call_unet
        vae.enable_tiling()
        vae.tile_sample_min_size, vae.tile_latent_min_size = TILE_SIDE, TILE_SIDE // self.latent_factor
        for network in filter(None, (vae, text_encoder, unet, classifier)):
            network.eval().requires_grad_(False)

    @classmethod
    def from_pretrained(
        cls,
        path_or_hub_id: str | Path | None = None,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        attention: str | None = None,
    ) -> "StableDiffusion":
        """Load the components one by one from a folder or hub id in diffusers' layout, safetensors only.

        Without ``path_or_hub_id``, the embedded model is taken; without ``device``, CUDA before MPS before
        the CPU; without ``dtype``, half precision where the device is good at it; without ``attention`` ("xformers"), torch's
        own. Raises `ModelLoadError` with the reason.
        """
        # In a thread of its own, which ends: the OpenMP team that a thread leaves behind halves the speed of the others'.
        with ThreadPoolExecutor(1) as loader:
            return loader.submit(lambda: cls(**load(str(path_or_hub_id or PRETRAINED), device, dtype, attention))).result()

    def trajectory(self, request: ImageRequest, index: int = 0, noise: Tensor | None = None) -> Trajectory:
        """Start image ``index`` of ``request``. ``noise``, of the latents' shape, replaces what its seed would draw.

        All random numbers come from one CPU generator an image, so a picture depends neither on its batch nor on the device.
        Its latents stay on the CPU, in float32; only the networks' inputs and answers travel.
        """
        solver = self.solver(request.sampler, request.steps, request.start_step if request.image is not None else 0)
        generator = torch.Generator().manual_seed(request.seeds[index])
        shape = self.latent_shape(request.width, request.height)
        with torch.inference_mode():
            clean = None
            if request.image is not None:
                clean = self.encode_image(fit(request.image, request.width, request.height), generator)
            if noise is None:
                noise = torch.randn(shape, generator=generator)
            if request.morph_to:
                end = torch.randn(shape, generator=torch.Generator().manual_seed(request.morph_seed))
                noise = slerp(noise, end, request.morph_weight(index))
            noise = noise.to("cpu", torch.float32)
            inpaint = None
            if clean is None:
                latents = solver.init_noise_sigma * noise
            else:
                latents = solver.add_noise(clean, noise, 0)
                inpaint = InpaintContext(clean, noise, self._cells(request.mask, request)) if request.mask else None
            guided, unguided = (share * solver.evaluations - solver.start for share in request.guidance_interval)
            return Trajectory(
                denoise(latents, solver, generator, inpaint),
                self._rows(request, self._shown(request, index)),
                request.guidance_scale,
                len(solver.steps),
                LabelGuidance(self.guide_labels.index(request.guide_label), request.label_scale)
                if request.uses_classifier
                else None,
                tuple(
                    Branch(step * solver.order - solver.start, self._rows(request, self.encode_prompt(prompt)))
                    for step, prompt in request.branches
                ),
                (guided, unguided),
            )

    def _shown(self, request: ImageRequest, index: int) -> Tensor:
        """Encode what image ``index`` of ``request`` shows."""
        prompt_embeds = self.encode_prompt(request.single(index).prompt)
        if not request.morph_to:
            return prompt_embeds
        return slerp(prompt_embeds, self.encode_prompt(request.morph_to), request.morph_weight(index))

    def _rows(self, request: ImageRequest, prompt_embeds: Tensor) -> Tensor:
        """Put the unconditional row before the conditional one where guidance needs it."""
        if not request.uses_guidance:
            return prompt_embeds
        return torch.cat([self.encode_prompt(request.negative_prompt), prompt_embeds])

    def _cells(self, mask: Image.Image, request: ImageRequest) -> Tensor:
        """Tell the latent cells, (1, 1, height, width), that hold anything white of ``mask`` by 1."""
        fitted = fit_mask(mask, request.width, request.height)
        white = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8).view(1, 1, fitted.height, fitted.width)
        return max_pool2d((white > 0).float(), self.latent_factor)

    @torch.inference_mode()
    def _encode_prompt(self, prompt: str) -> Tensor:
        """Encode ``prompt``, which `validate` has found short enough, to (1, tokens, width)."""
        ids = self._input_ids(prompt)
        ids += [self.tokenizer.pad_token_id] * (self.tokenizer.model_max_length - len(ids))
        return self.text_encoder(torch.tensor([ids], device=self.device)).last_hidden_state

    @torch.inference_mode()
    def encode_image(self, image: Image.Image, generator: torch.Generator) -> Tensor:
        """Encode an RGB image to scaled latents (1, channels, height / factor, width / factor), drawn from the posterior."""
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)
        pixels = pixels.permute(2, 0, 1)[None].to(self.device, self.vae.dtype) / 127.5 - 1
        posterior = self.vae.encode(pixels).latent_dist
        return posterior.sample(generator).float().cpu() * self.vae.config.scaling_factor

    @torch.inference_mode()
    def predict_noise(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        """Call the UNet: (rows, channels, h, w), (rows,), (rows, tokens, width) -> predictions like ``latents``.

        ``prompt_embeds`` are on the model's device, the others and the predictions on the CPU.
        """
        return self._ask(latents.to(self.dtype), timesteps, prompt_embeds.to(self.dtype)).cpu().float()

    def compile(self) -> None:
        """Have the UNet's calls compiled: by OpenVINO on a CPU, where it is installed, else by torch.

        That takes a minute or more. It is meant for a thread of its own: meanwhile calls go on as they are, and later those do
        that are not what was compiled.
        """
        shape = self.latent_shape(self.sample_side, self.sample_side)[1:]
        latents = torch.zeros(2, *shape, dtype=self.dtype, device=self.device)
        example = latents, latents.new_zeros(2, dtype=torch.float32), self.encode_prompt("").to(self.dtype).repeat(2, 1, 1)
        by_openvino = self.device.type == "cpu" and is_installed()
        faster = OpenVino(self.unet, *example) if by_openvino else Compiled(self._call_unet, *example)
        otherwise = self._ask

        def ask(latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
            return (faster if faster.fits(latents) else otherwise)(latents, timesteps, prompt_embeds)

        self._ask = ask

    def _call_unet(self, latents: Tensor, timesteps: Tensor, prompt_embeds: Tensor) -> Tensor:
        return self.unet(latents.to(self.device), timesteps.to(self.device), prompt_embeds, return_dict=False)[0]

    def classifier_gradient(self, latents: Tensor, timesteps: Tensor, labels: Tensor) -> Tensor:
        """Call the classifier: (rows, channels, h, w), (rows,), (rows,) -> grad_x log p(label | x_t) like ``latents``."""
        if self.classifier is None:
            raise ValueError("this model has no classifier")
        inputs = (tensor.to(self.device) for tensor in (latents, timesteps, labels))
        return self.classifier.gradient(*inputs).cpu()

    def alpha_bar(self, timesteps: Tensor) -> Tensor:
        """Look up the noise levels at ``timesteps``, which some samplers set between the training's: take the nearest."""
        nearest = timesteps.round().long().clamp(0, len(self.alphas_cumprod) - 1)
        return self.alphas_cumprod[nearest]

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Decode clean latents (images, channels, h, w) to RGB images."""
        scaled = (latents / self.vae.config.scaling_factor).to(self.device, self.vae.dtype)
        return to_images(self.vae.decode(scaled, return_dict=False)[0])

    def picture(self, request: ImageRequest, latents: Tensor) -> Image.Image:
        """Decode the clean latents (1, channels, h, w) of an image of ``request``; what was to stay is put back exactly."""
        image = self.decode(latents)[0]
        if request.image is None or request.mask is None:
            return image
        width, height = image.size
        return restore_unmasked(image, fit(request.image, width, height), fit_mask(request.mask, width, height))

    @torch.inference_mode()
    def preview_latents(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """Show what each of ``trajectories`` is heading for after a step, through a linear map instead of the decoder.

        Their latents share one shape. (h, w, 3) in bytes, one pixel a latent cell.
        """
        seen = [(each.last_input, each.prediction) for each in trajectories if each.last_input and each.prediction is not None]
        if len(seen) < len(trajectories):
            raise ValueError("nothing can be seen before the first step")
        if self._projection is None:
            self._projection = fit_projection(self.vae, self.latent_factor).cpu()
        x_t = torch.cat([sample for (sample, _), _ in seen])
        alpha_bar = self.alpha_bar(torch.stack([timestep.float() for (_, timestep), _ in seen])).view(-1, 1, 1, 1)
        x_0 = predict_x_0(x_t, torch.cat([prediction for _, prediction in seen]), alpha_bar, self.prediction_type)
        cells = torch.cat([x_0, torch.ones_like(x_0[:, :1])], 1)
        pixels = to_bytes(torch.einsum("oc,bchw->bohw", self._projection, cells))
        return [preview_latents.clone() for preview_latents in pixels]  # kept one by one, long after the others are gone

    def timelapse(self, request: ImageRequest, x0_previews: Sequence[Tensor]) -> Image.Image:
        """Lay the looks after all evaluations of an image of ``request`` below one another, one a step."""
        return to_strip(x0_previews[:: SAMPLERS[request.sampler].scheduler.order])

    def generate(
        self, prompts: list[str], *, seeds: list[int] | None = None, noise: Tensor | None = None, **settings: Any
    ) -> list[Image.Image]:
        """Make one picture for each of ``prompts``; ``settings`` are those of `ImageRequest`."""
        requests = [
            self.request(prompt, seed=seeds[index] if seeds else random_seed(), **settings)
            for index, prompt in enumerate(prompts)
        ]
        for request in requests:
            self.validate(request)
        trajectories = [
            self.trajectory(request, noise=None if noise is None else noise[index : index + 1])
            for index, request in enumerate(requests)
        ]
        return [self.picture(request, latents) for request, latents in zip(requests, develop(self, trajectories), strict=True)]
