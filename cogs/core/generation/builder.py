"""Build a request from a prompt, options, preferences and the model's defaults.

Precedence: the command's options, the prompt's flags, a chosen quality, the style, preferences, the model.
"""

from collections.abc import Mapping
from typing import Any, Final

from PIL import Image

from cogs.core.policy.context import Context
from cogs.core.request.options import Options, parse_size
from cogs.core.request.prompt import ParsedPrompt, clean, take_loras, validate_prompt
from cogs.core.request.prompt_matrix import expand, prompt_fields
from cogs.core.request.styles import Style, find_style, styles_of_words
from diffusion.errors import Problems
from diffusion.families.spec import ModelSpec
from diffusion.lora.tags import Loras, join_loras
from diffusion.request import (
    MAX_UPSCALED_SIDE,
    UPSCALES,
    ImageRequest,
    Limits,
    random_seed,
    start_step_for,
    validate_most,
    validate_pixels,
)
from diffusion.serving.interface import ImageEngine
from diffusion.text import Text

NO_OPTIONS: Final = Options()
ANY_IMAGE: Final = Image.new("RGB", (1, 1))  # stands for a picture that was not read yet
NEGATIVES_JOINER: Final = ", "  # between the negative prompts of a member and of a style


class RequestBuilder:
    """Builds requests for the present model.

    ``custom_styles`` replace the model's own styles unless they are None.
    """

    def __init__(self, engine: ImageEngine, custom_styles: Mapping[str, Style] | None = None) -> None:
        self.engine = engine
        self.custom_styles = custom_styles

    @property
    def model(self) -> ModelSpec:
        """The present model."""
        return self.engine.model

    @property
    def styles(self) -> Mapping[str, Style]:
        """The styles that members can choose by name."""
        return self.custom_styles or styles_of_words(self.model.defaults.styles)

    def build(self, context: Context, prompt: ParsedPrompt, options: Options = NO_OPTIONS, **fields: Any) -> ImageRequest:
        """Return the request of a member; raises `InvalidRequestError`.

        ``fields`` of `ImageRequest` override everything else.
        """
        preferred = context.preferences.style if prompt.text else None
        style_name = options.style or prompt.flags.get("style") or preferred
        style = None
        problems = Problems(prompt.errors)
        with problems.collect():
            style = self._style(style_name) if style_name else None
        settings = self._defaults(context, style)
        if options.quality:
            settings |= self._preset(options.quality, context.limits)
        if prompt.flags:
            settings |= self._flags(prompt, context.limits)
        with problems.collect():
            settings |= options.request_fields()
        settings |= fields
        self._lower(settings, _maxima(context.limits), context.limits, problems)
        self._check_sampler(settings, problems)
        settings.setdefault("upscale", self._default_upscale(settings["width"], settings["height"]))
        with problems.collect():
            request = self.model.request(**self._with_prompt(settings, prompt, style))
            self.model.validate(request)
        problems.report()
        return request

    def check(self, context: Context, prompt: ParsedPrompt, options: Options) -> ImageRequest:
        """Raise what `build` would raise, before the picture to start from is read.

        Returns the request with another picture.
        """
        return self.build(context, prompt, options, image=ANY_IMAGE)

    def edit(self, context: Context, request: ImageRequest, prompt: ParsedPrompt, **fields: Any) -> ImageRequest:
        """Return ``request`` with another prompt and other ``fields``.

        The flags of the prompt override both. Raises `InvalidRequestError`.
        """
        style_name = prompt.flags.get("style")
        style = self._style(style_name) if style_name else None
        settings = {"count": request.count_each} | fields | self._flags(prompt, context.limits)
        problems = Problems(prompt.errors)
        maxima = _maxima(context.limits)
        if request.morph_to:
            maxima["count"] = context.limits.frames
        self._lower(settings, maxima, context.limits, problems)
        self._check_sampler(settings, problems)
        start_step = start_step_for(request.start_step / request.steps, settings.get("steps", request.steps))
        with problems.collect():
            edited = request.replace(start_step=start_step, **self._with_prompt(settings, prompt, style))
            self.model.validate(edited)
        problems.report()
        return edited

    def typed_texts(self, request: ImageRequest) -> list[str]:
        """Return the prompts and the negative prompt of ``request``, without the negative prompt of its style."""
        negative = request.negative_prompt
        for style in self.styles.values():
            typed = negative.removesuffix(style.negative)
            if typed != negative and (not typed or typed.endswith(NEGATIVES_JOINER)):
                negative = typed.removesuffix(NEGATIVES_JOINER)
                break
        return [*request.prompts, *filter(None, [negative])]

    def notes(self, *prompts: ParsedPrompt) -> tuple[Text, ...]:
        """Return the notes on ``prompts`` that hold for the model."""
        is_plain = not self.model.chunk_tokens
        notes = [note for prompt in prompts for note in (*prompt.notes, *(prompt.plain_notes if is_plain else ()))]
        return tuple({str(note): note for note in notes}.values())

    def lora_notes(self, request: ImageRequest) -> list[Text]:
        """Return a note on each LoRA of ``request`` whose trigger words are not in its prompts."""
        typed = " ".join(request.prompts).lower()
        loras = [self.model.loras[name] for name, _ in request.loras if name in self.model.loras]
        silent = [lora for lora in loras if lora.triggers and not any(word.lower() in typed for word in lora.triggers)]
        return [
            Text(
                "The LoRA {name} was trained with these words: {words}. Add one to the prompt if you do not see its effect.",
                name=lora.name,
                words=", ".join(f"“{word}”" for word in lora.triggers),
            )
            for lora in silent
        ]

    def fit_aspect(self, aspect: tuple[float, float], limits: Limits) -> tuple[int, int]:
        """Return the size with the ratio ``aspect`` and the area of the model's square."""
        return limits.shrink_size(*self.model.size_of(aspect[0] / aspect[1]), self.model.grid)

    def _with_prompt(self, settings: dict[str, Any], prompt: ParsedPrompt, style: Style | None) -> dict[str, Any]:
        """Return ``settings`` with the prompts and LoRAs in the style, and its negative prompt."""
        text = prompt.text
        variants = prompt.variants
        styled: Loras = ()
        if style:
            text, styled = take_loras(clean(style.apply(text)))
            variants = expand(text)
            if style.negative and self.model.reads_negative_prompt:
                negatives = (settings.get("negative_prompt"), style.negative)
                settings = settings | {"negative_prompt": NEGATIVES_JOINER.join(filter(None, negatives))}
        loras = self._offered(join_loras(styled, prompt.loras, settings.get("loras", ())))
        return settings | {"loras": loras} | prompt_fields(validate_prompt(text), variants, settings["count"])

    def _offered(self, loras: Loras) -> Loras:
        """Return ``loras`` by the names that the model offers, in whichever case they were typed."""
        names = {name.lower(): name for name in self.model.loras}
        return join_loras(((names.get(name.lower(), name), weight) for name, weight in loras))

    def _default_upscale(self, width: int, height: int) -> int:
        """Return the model's own upscale, lowered to what such a picture allows."""
        most = min(self.model.defaults.upscale, MAX_UPSCALED_SIDE // max(width, height))
        return max((factor for factor in UPSCALES if factor <= most), default=1)

    def _check_sampler(self, settings: dict[str, Any], problems: Problems) -> None:
        """Note a sampler that the model does not have, and leave it out of ``settings``."""
        if "sampler" in settings:
            before = len(problems.errors)
            with problems.collect():
                self.model.validate_sampler(settings["sampler"])
            if len(problems.errors) > before:
                del settings["sampler"]

    def _style(self, name: str) -> Style | None:
        return find_style(self.styles, clean(name))

    def _flags(self, prompt: ParsedPrompt, limits: Limits) -> dict[str, Any]:
        """Return the settings of the prompt's flags by the fields of `ImageRequest`."""
        flags = {name: value for name, value in prompt.flags.items() if name not in ("style", "aspect")}
        if aspect := prompt.flags.get("aspect"):
            flags["width"], flags["height"] = self.fit_aspect(aspect, limits)
        return flags

    def _preset(self, quality: str, limits: Limits) -> dict[str, Any]:
        """Return the settings of a chosen quality, with no more steps than allowed."""
        preset = self.model.defaults.of(quality)
        return preset | {"steps": min(preset["steps"], limits.steps)}

    def _lower(self, settings: dict[str, Any], maxima: Mapping[str, int], limits: Limits, problems: Problems) -> None:
        """Lower ``settings`` to ``maxima`` and their size to ``limits``, and note those above.

        So nothing that follows from them is reported, too.
        """
        if "width" in settings:
            with problems.collect():
                validate_pixels(settings["width"], settings["height"], limits)
        for field, most in maxima.items():
            if field in settings:
                with problems.collect():
                    validate_most(field, settings[field], most)
                settings[field] = min(settings[field], most)
        if "width" in settings and not limits.allow_size(settings["width"], settings["height"]):
            size = limits.shrink_size(settings["width"], settings["height"], self.model.grid)
            settings["width"], settings["height"] = size

    def _defaults(self, context: Context, style: Style | None) -> dict[str, Any]:
        """Return the settings that the member left open, lowered to the limits.

        A default above the limits must not make the bot reject the request.
        """
        preferred = context.preferences
        limits = context.limits
        model = self.engine.model.defaults
        preset = model.of(preferred.quality or "standard")
        side = self.engine.model.sample_side
        width, height = parse_size(preferred.size) if preferred.size else (side, side)
        width, height = limits.shrink_size(width or side, height or side, self.engine.model.grid)
        steps = (style and style.steps) or preferred.steps or preset["steps"]
        guidance_scales = (style and style.guidance, preferred.guidance, model.guidance_scale)
        return {
            "width": width,
            "height": height,
            "steps": min(steps, limits.steps),
            "guidance_scale": next(scale for scale in guidance_scales if scale is not None),
            "sampler": preferred.sampler if preferred.sampler in self.model.samplers else preset["sampler"],
            "guidance_interval": preset["guidance_interval"],
            "seed": random_seed(),
            "count": 1,
        }


def _maxima(limits: Limits) -> dict[str, int]:
    return {"width": limits.longest_side, "height": limits.longest_side, "steps": limits.steps, "count": limits.count}
