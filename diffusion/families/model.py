"""A loaded model of any family, which starts, denoises and finishes images."""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from functools import lru_cache
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

from diffusion.backends.compiled_cache import CompiledCache
from diffusion.backends.cuda_graphs import Graphs, Network
from diffusion.backends.openvino import is_installed
from diffusion.backends.torch_compile import Compiled
from diffusion.errors import DarkroomError, InvalidRequestError, ModelLoadError
from diffusion.families.compiled import (
    FastestDenoiser,
    channels_last_from_next_call,
    compile_pixels,
    denoiser_part,
    pixel_parts,
)
from diffusion.families.defaults import Defaults
from diffusion.families.family import Family
from diffusion.families.latent_preview import fit_projection, project, to_images, to_strip
from diffusion.families.spec import ModelSpec, Origin
from diffusion.images.io import fit, halves
from diffusion.images.masks import fit_mask, restore_unmasked
from diffusion.images.source import blended_pictures, fit_source
from diffusion.images.upscaler import Enlargement, Upscaler
from diffusion.lora.catalogue import REFRESH_SECONDS, Lora, LoraCatalogue, Source
from diffusion.lora.loaded import COLUMNS, MAX_BYTES, LoadedLoras, LoraRow, arrange, call_apart, layer_index, split
from diffusion.request import DISTILLED, SAMPLER_NAMES, ImageRequest, random_seed
from diffusion.sampling.branching import Branch, branches_of, followed_by
from diffusion.sampling.classifier_guidance import ClassifierGuidance
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.denoise import InpaintContext, denoise
from diffusion.sampling.jumps import jump_solver
from diffusion.sampling.slerp import slerp
from diffusion.sampling.solver import Solver
from diffusion.sampling.student_rows import mark_student, split_student
from diffusion.sampling.trajectory import Trajectory, denoise_all
from diffusion.sampling.variety import loose_stages

SOLVERS_CACHED = 64


class ImageModel(ModelSpec):
    """A ``family`` with its loaded networks, an optional ``classifier``, and the network of a ``student`` if there is one.

    Latents stay on the CPU in float32; only the networks' inputs and outputs travel. Methods that call the same network
    are for one thread at a time; those of `ModelSpec` are safe in any.
    """

    def __init__(
        self,
        family: Family,
        *,
        name: str = "model",
        defaults: Defaults | None = None,
        classifier: ClassifierGuidance | None = None,
        student: nn.Module | None = None,
    ) -> None:
        self.family = family
        self.classifier = classifier
        self.student = student
        self.name = name
        self.set_defaults(defaults or family.defaults)
        self.guide_labels = classifier.labels if classifier else ()
        self.grid = family.grid
        self.sample_side = family.sample_side
        self.latent_factor = family.latent_factor
        self.latent_channels = family.latent_channels
        self.guidance_above = family.guidance_above
        self.reads_negative_prompt = family.reads_negative_prompt
        self.max_tokens = family.max_tokens
        self.max_steps = family.max_steps
        self.max_clip_skip = family.max_clip_skip
        self.chunk_tokens = family.chunk_tokens
        self.embeddings = family.embeddings
        self.tokenizers = family.tokenizers
        self.shape_grid = family.shape_grid
        self.edits = family.edits
        self.device = family.device
        self.dtype = family.dtype
        self.guide = family.guide
        self.solver = lru_cache(SOLVERS_CACHED)(self._solver)
        self._projection: Tensor | None = None
        self._graphs = Graphs(self._predict, self.device) if self.device.type == "cuda" and family.is_static else None
        self._network: Network = self._graphs or self._predict
        self._student_network: Network | None = None
        if student is not None:
            self._taught = copy(family)
            self._taught.denoiser = student.eval().requires_grad_(False)
            self._student_network = Graphs(self._predict_taught, self.device) if self._graphs else self._predict_taught
        self._loras = self._loras_in(())
        self.upscaler: Upscaler | None = None
        self.origin: Origin | None = None  # None: not from files
        self.speed = ""  # how its network is called, once it is compiled

    def set_defaults(self, defaults: Defaults) -> None:
        """Take over ``defaults``, and the samplers that they offer.

        Raises `ModelLoadError` for a student that the model lacks.
        """
        if defaults.student and self.student is None:
            raise ModelLoadError(self.name, "its defaults name a student, and there is none in its folder.")
        self.defaults = defaults
        offered = defaults.samplers or tuple(self.family.samplers)
        self.samplers = {name: self.family.max_steps_with(name) for name in offered if name in self.family.samplers}
        if self.student is not None and defaults.student:
            self.samplers[DISTILLED] = len(defaults.student.states)

    def count_tokens(self, text: str) -> int:
        """Count the tokens of ``text`` without its start and end marks."""
        return self.family.count_tokens(text)

    def offer_loras(self, sources: Iterable[Source], max_bytes: int = MAX_BYTES) -> None:
        """Offer the LoRAs in ``sources``.

        Those in the networks take at most ``max_bytes``.
        """
        self._loras.clear()
        self._loras = self._loras_in(sources, max_bytes)
        self.refresh_loras()

    def _loras_in(self, sources: Iterable[Source], max_bytes: int = MAX_BYTES) -> LoadedLoras:
        networks = self.family.lora_networks
        loras = LoadedLoras(networks, LoraCatalogue(sources, layer_index(networks, self.family.label)), max_bytes)
        loras.relaid = self._forget_graphs
        loras.replaced = self.family.forget_texts
        return loras

    @property
    def loras(self) -> Mapping[str, Lora]:
        """The LoRAs that members can name, also those that this model cannot use."""
        return self._loras.catalogue.loras

    def refresh_loras(self, seconds: float = REFRESH_SECONDS) -> None:
        """Look for new LoRAs, unless that was done ``seconds`` ago. Call it in a thread."""
        self._loras.catalogue.refresh(seconds)

    def is_ready_for(self, request: ImageRequest) -> bool:
        """Whether nothing has to be read or encoded before ``request`` is drawn. Safe in any thread."""
        return request.by_upscaler or (self._loras.is_read(request.loras) and not self._encodes_ahead(request))

    def read_for(self, request: ImageRequest) -> None:
        """Read the LoRAs of ``request``, so that steps need not wait; raises `InvalidRequestError`.

        Texts that are encoded beside the steps are encoded, too. Safe in any thread.
        """
        self._loras.read(request.loras)
        if self._encodes_ahead(request):
            for index in range(request.count):
                self.family.rows(request, self._conditional(request, index))
            for _, prompt in request.branches:
                self.family.encode(prompt, request)

    def _encodes_ahead(self, request: ImageRequest) -> bool:
        """Whether texts are encoded beside the steps; LoRAs may change the encoders, so theirs are not."""
        return self.family.encodes_apart and not request.loras and not request.by_upscaler

    def _forget_graphs(self) -> None:
        if self._graphs:
            self._graphs.forget(COLUMNS)

    def set_embeddings(self, vectors: Mapping[str, Mapping[int, Tensor]]) -> None:
        """Let prompts name ``vectors``: (tokens, width) by width, by lower-case names."""
        self.family.set_embeddings(vectors)
        self.embeddings = self.family.embeddings

    def offer_upscaler(self, upscaler: Upscaler) -> None:
        """Let ``upscaler`` enlarge finished pictures."""
        self.upscaler = upscaler
        self.upscales = upscaler.factors
        self.upscaler_tile = upscaler.tile

    def enlarge(self, request: ImageRequest) -> Enlargement:
        """Begin to enlarge the picture of ``request``; raises `InvalidRequestError`."""
        self.validate_upscale(request.upscale)
        assert self.upscaler is not None
        assert request.image is not None
        return self.upscaler.enlarge(fit(request.image, request.width, request.height), request.upscale)

    def trajectory(self, request: ImageRequest, index: int = 0, noise: Tensor | None = None) -> Trajectory:
        """Start image ``index`` of ``request``.

        ``noise``, in the shape of the latents, replaces the noise of its seed. One CPU generator draws all random numbers of
        an image, so an image depends neither on its batch nor on the device.
        """
        shape = self.latent_shape(request.width, request.height)
        request = fit_source(request)
        start = None if request.is_edit else request.image
        start_step = request.start_step if start is not None else 0
        solver = self.solver(request.sampler, request.steps, start_step, shape if self.family.schedule_depends_on_size else ())
        generator = torch.Generator().manual_seed(request.seeds[index])
        with torch.inference_mode():
            clean = None
            if start is not None:
                clean = self._clean_start(request, start, index, generator)
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
                if request.mask is not None:
                    inpaint = InpaintContext(clean, noise, self._latent_mask(request.mask, request))
            guided_from, guided_until = (share * solver.evaluations - solver.start for share in request.guidance_interval)
            lora_row = self._loras.row(request.loras) if request.loras else None
            seen = self._seen_latents(request, clean)
            with self._adapted_by(lora_row):

                def rows_of(conditional: Conditions) -> Conditions:
                    rows = _complete(self.family.rows(request, conditional), seen, lora_row)
                    return mark_student(rows) if request.sampler == DISTILLED else rows

                conditional = self._conditional(request, index)
                stages = loose_stages(request, solver, conditional, generator) if request.variety else [(0, conditional)]
                first, *later = [Branch(call, rows_of(stage)) for call, stage in stages]
                branches = branches_of(request, solver, lambda prompt: rows_of(self.family.encode(prompt, request)))
            return Trajectory(
                denoise(latents, solver, generator, inpaint),
                first.conditions,
                request.guidance_scale,
                len(solver.steps),
                label_guidance=self.classifier.guidance_of(request) if self.classifier else None,
                branches=followed_by(later, branches),
                guided=(guided_from, guided_until),
                guidance_period=request.computes_guidance_every,
                lora_row=lora_row,
            )

    def _clean_start(self, request: ImageRequest, start: Image.Image, index: int, generator: torch.Generator) -> Tensor:
        """Encode the picture that image ``index`` starts from; a frame of a morph starts between two."""
        if request.blend:
            return self._blended(request, generator)
        if not request.morph_to:
            return self.encode_image(start, generator)
        first, last = (self.encode_image(half, generator) for half in halves(start))
        return torch.lerp(first, last, request.morph_weight(index))

    def _adapted_by(self, lora_row: LoraRow | None) -> contextlib.AbstractContextManager[None]:
        """Let the text encoders have the LoRAs of ``lora_row`` in a block."""
        if lora_row is None:
            return contextlib.nullcontext()
        return self._loras.current.use(lora_row.for_all(self.device))

    def _solver(self, sampler: str, steps: int, start_step: int = 0, shape: tuple[int, ...] = ()) -> Solver:
        if sampler == DISTILLED and (student := self.student_defaults):
            return jump_solver(self.solver(student.sampler, student.steps), student.states)
        try:
            return self.family.samplers[sampler].linearize(self.family.schedule(sampler, steps, shape), start_step)
        except DarkroomError:
            raise
        except Exception as error:  # schedulers raise anything, from AssertionError to IndexError
            raise InvalidRequestError(
                "steps",
                "This model cannot use {sampler} with this number of steps: {steps}. Try another number or another sampler.",
                steps=steps,
                sampler=SAMPLER_NAMES[sampler],
            ) from error

    def _conditional(self, request: ImageRequest, index: int) -> Conditions:
        """Encode what image ``index`` of ``request`` shows."""
        conditions = self.family.encode(request.single(index).prompt, request)
        if not request.morph_to:
            return conditions
        start, end = self.family.match([conditions, self.family.encode(request.morph_to, request)], request)
        return start.slerp(end, request.morph_weight(index))

    def _seen_latents(self, request: ImageRequest, clean: Tensor | None) -> Tensor | None:
        """Return the latents of the picture that the network sees while it draws ``request``, if there is one.

        ``clean`` are those of the picture that it starts from.
        """
        if self.seen_size(request) is None or request.image is None:
            return None
        latents = self.encode_image(request.image, None) if clean is None else clean
        return latents.to(self.device, self.dtype)

    def _latent_mask(self, mask: Image.Image, request: ImageRequest) -> Tensor:
        """Return (1, 1, h, w) with 1 for latent cells with any white pixel of ``mask``."""
        fitted = fit_mask(mask, request.width, request.height)
        white = torch.frombuffer(bytearray(fitted.tobytes()), dtype=torch.uint8).view(1, 1, fitted.height, fitted.width)
        return max_pool2d((white > 0).float(), self.latent_factor)

    @torch.inference_mode()
    def predict_noise(self, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        """Call the denoiser by its backend, and the student with its rows.

        ``latents`` and the predictions are in float32 on the CPU.
        """
        if self._student_network is None or (parts := split_student(conditions)) is None:
            return self._call(self._network, latents, timesteps, conditions)
        predictions = torch.empty_like(latents)
        for network, (rows, own) in zip((self._network, self._student_network), parts, strict=True):
            if len(rows):
                predictions[rows] = self._call(network, latents[rows], timesteps[rows], own)
        return predictions

    def _call(self, network: Network, latents: Tensor, timesteps: Tensor, conditions: Conditions) -> Tensor:
        tensors, order = arrange(conditions.tensors)
        if order is not None:
            latents, timesteps = latents[order], timesteps[order]
        predictions = network(latents.to(self.dtype), timesteps, **tensors).cpu().float()
        return predictions if order is None else predictions[order.argsort()]

    def _predict(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        latents, timesteps = latents.to(self.device), timesteps.to(self.device)
        if COLUMNS not in conditions:
            return self.family.predict(latents, timesteps, **conditions)
        conditions, columns = split(conditions, self.device)
        with self._loras.current.use(columns):
            return self.family.predict(latents, timesteps, **conditions)

    def _predict_taught(self, latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
        return self._taught.predict(latents.to(self.device), timesteps.to(self.device), **conditions)

    def compile(self, cache: CompiledCache | None = None, *, by_torch: bool = True) -> None:
        """Call the networks in the fastest way: on a CPU by OpenVINO where it is installed, else by torch.

        What OpenVINO compiles is kept in ``cache``. Without ``by_torch``, torch compiles nothing. It takes a minute or more
        where nothing is cached. Run it in a thread of its own: until it ends, and for shapes that the compiled denoiser does
        not take, calls use the uncompiled one, as do rows with LoRAs and calls with long prompts.
        """
        if by_torch and (self.device.type != "cpu" or not is_installed()):
            self._compile_denoisers(None)
            return
        cache = cache or CompiledCache()
        if self.family.converts:
            self._compile_denoisers(cache)
        compile_pixels(self.family, cache)
        self.revision += 1

    def _compile_denoisers(self, cache: CompiledCache | None) -> None:
        self._network = self._compiled(self.family, self._predict, self._network, cache)
        self.revision += 1
        if self._student_network is not None:
            self._student_network = self._compiled(self._taught, self._predict_taught, self._student_network, cache)
            self.revision += 1

    def is_cached(self, cache: CompiledCache) -> bool:
        """Whether `compile` finds in ``cache`` all that it would compile for a CPU."""
        latents, timesteps, conditions = self._example_call()
        families = [self.family, *([self._taught] if self._student_network is not None else [])] if self.family.converts else []
        parts = [denoiser_part(family, latents, timesteps, **conditions) for family in families]
        return all(part.is_cached(cache) for part in parts + pixel_parts(self.family))

    def _compiled(self, family: Family, predict: Network, uncompiled: Network, cache: CompiledCache | None) -> Network:
        """Return ``predict`` of ``family`` compiled, which calls ``uncompiled`` for what it does not take.

        Without a ``cache``, torch compiles it.
        """
        latents, timesteps, conditions = self._example_call()
        compiled: Compiled | FastestDenoiser
        if cache is None:
            compiled = Compiled(predict, latents, timesteps, **conditions)
        else:
            compiled = FastestDenoiser(family, cache, latents, timesteps, **conditions)
            self.speed = compiled.fastest.summary
            if compiled.fastest.prefers_channels_last:
                uncompiled = channels_last_from_next_call(uncompiled, family.denoiser)
        sizes = {name: tensor.shape[1:] for name, tensor in conditions.items()}

        def call(latents: Tensor, timesteps: Tensor, **conditions: Tensor) -> Tensor:
            if COLUMNS in conditions:
                return call_apart(call, uncompiled, latents, timesteps, **conditions)
            has_sizes = {name: tensor.shape[1:] for name, tensor in conditions.items()} == sizes
            return (compiled if has_sizes and compiled.fits(latents) else uncompiled)(latents, timesteps, **conditions)

        return call

    def _example_call(self) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
        """Return the latents, timesteps and conditions of a call of two rows, for pictures of the usual size."""
        shape = self.latent_shape(self.sample_side, self.sample_side)[1:]
        latents = torch.zeros(2, *shape, dtype=self.dtype, device=self.device)
        row = self.family.encode("", self.request("a picture"))
        return latents, latents.new_zeros(2, dtype=torch.float32), Conditions.stack([row, row]).tensors

    @torch.inference_mode()
    def encode_image(self, image: Image.Image, generator: torch.Generator | None) -> Tensor:
        """Encode an RGB image to latents, drawn from the autoencoder's posterior, or its most likely ones.

        The latents are (1, channels, height / factor, width / factor).
        """
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(image.height, image.width, 3)
        pixels = pixels.permute(2, 0, 1)[None].to(self.device, self.family.pixel_dtype) / 127.5 - 1
        return self.family.to_latents(pixels, generator).cpu()

    def _blended(self, request: ImageRequest, generator: torch.Generator) -> Tensor:
        """Return the weighted mean of the latents of the pictures that ``request`` blends."""
        pictures = [self.encode_image(picture, generator) for picture in blended_pictures(request)]
        weights = torch.tensor(request.blend, dtype=torch.float64)
        return torch.einsum("p...,p->...", torch.stack(pictures), (weights / weights.sum()).to(pictures[0].dtype))

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> list[Image.Image]:
        """Decode clean latents (images, channels, h, w) to RGB images."""
        return to_images(self.family.to_pixels(latents))

    def finish(self, requests: Sequence[ImageRequest], latents: Sequence[Tensor]) -> list[Image.Image]:
        """Decode clean latents (1, channels, h, w) of one shape in one call, and restore the unmasked parts."""
        images = self.decode(torch.cat([*latents]) if len(latents) > 1 else latents[0])
        for index, request in enumerate(requests):
            if request.image is not None and request.mask is not None:
                size = images[index].size
                images[index] = restore_unmasked(images[index], fit(request.image, *size), fit_mask(request.mask, *size))
        return images

    @torch.inference_mode()
    def preview_latents(self, trajectories: Sequence[Trajectory]) -> list[Tensor]:
        """Preview ``trajectories`` of one shape as (h, w, 3) in bytes.

        Each latent cell becomes one pixel. A linear map stands in for the decoder. Raises `ValueError` before the first step.
        """
        inputs = [
            (each.last_input, each.prediction) for each in trajectories if each.last_input and each.prediction is not None
        ]
        if len(inputs) < len(trajectories):
            raise ValueError("nothing can be seen before the first step")
        if self._projection is None:
            self._projection = fit_projection(self.family)
        x_t = torch.cat([sample for (sample, _), _ in inputs])
        timesteps = torch.stack([timestep.float() for (_, timestep), _ in inputs])
        x_0 = self.family.predict_x_0(x_t, torch.cat([prediction for _, prediction in inputs]), timesteps)
        # Clones, so that a preview does not keep the others of its batch in memory.
        return [preview.clone() for preview in project(self._projection, x_0)]

    def timelapse(self, request: ImageRequest, x0_previews: Sequence[Tensor]) -> Image.Image:
        """Stack one preview per step of an image of ``request`` into one tall image."""
        if request.sampler == DISTILLED:
            return to_strip(x0_previews)
        steps = request.steps - (request.start_step if request.image else 0)
        return to_strip(self.family.samplers[request.sampler].one_per_step(x0_previews, steps))

    def generate(
        self, prompts: list[str], *, seeds: list[int] | None = None, noise: Tensor | None = None, **settings: Any
    ) -> list[Image.Image]:
        """Draw one image for each of ``prompts``.

        ``settings`` are fields of `ImageRequest`.
        """
        seeds = seeds or [random_seed() for _ in prompts]
        requests = [self.request(prompt, seed=seed, **settings) for prompt, seed in zip(prompts, seeds, strict=True)]
        for request in requests:
            self.validate(request)
        noises = [None] * len(requests) if noise is None else noise.split(1)
        trajectories = [self.trajectory(request, noise=own) for request, own in zip(requests, noises, strict=True)]
        drawn = denoise_all(self, trajectories)
        return [self.finish([request], [latents])[0] for request, latents in zip(requests, drawn, strict=True)]


def _complete(rows: Conditions, seen: Tensor | None, lora_row: LoraRow | None) -> Conditions:
    """Return the conditions ``rows`` with the picture that they see and the LoRAs of theirs."""
    if seen is not None:
        rows = rows.with_tensors({"reference": seen.expand(len(rows), -1, -1, -1)})
    return rows.with_tensors(lora_row.conditions(len(rows))) if lora_row else rows
