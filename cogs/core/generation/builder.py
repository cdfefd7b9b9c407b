"""Build a request from a prompt, options, preferences and the model's defaults.

Precedence: the command's options, the prompt's flags, a chosen quality, the member's preset, the style, preferences, the model.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from PIL import Image

from cogs.core.policy.context import Context
from cogs.core.request.options import Options, parse_size
from cogs.core.request.presets import added_to, preset_of, with_added
from cogs.core.request.prompt import ParsedPrompt, clean, expand, prompt_fields, take_loras
from cogs.core.request.styles import Style, find_style, styles_of_words
from cogs.core.types import Interaction
from diffusion.errors import InvalidRequestError, Problems
from diffusion.families.defaults import Preset
from diffusion.families.spec import ModelSpec
from diffusion.lora.tags import Loras, join_loras
from diffusion.request import (
    DISTILLED,
    MAX_UPSCALED_SIDE,
    UPSCALES,
    ImageRequest,
    Limits,
    random_seed,
    start_step_for,
)
from diffusion.serving.interface import ImageEngine
from diffusion.serving.offers import find_name
from diffusion.text import Text

NO_OPTIONS: Final = Options()
NO_PROMPT: Final = ParsedPrompt("", (), {})
ANY_IMAGE: Final = Image.new("RGB", (1, 1))  # stands for a picture that was not read yet
PRESET_FIELDS: Final = tuple(Preset.__dataclass_fields__)  # what a chosen quality says
STANDARD: Final = "standard"  # as a chosen quality, it leaves everything to the model
NEGATIVES_JOINER: Final = ", "  # between the negative prompts of a member and of a style


class RequestBuilder:
    """Builds requests for the model called ``model_name``, or for those that members choose (`of`).

    ``custom_styles`` replace the model's own styles unless they are None. A prompt makes ``default_count`` pictures unless
    members choose otherwise.
    """

    def __init__(
        self,
        engine: ImageEngine,
        custom_styles: Mapping[str, Style] | None = None,
        *,
        model_name: str = "",
        default_count: int = 1,
    ) -> None:
        self.engine = engine
        self.custom_styles = custom_styles
        self.model_name = model_name
        self.default_count = default_count

    @property
    def model(self) -> ModelSpec:
        """The model of the requests."""
        return self.engine.model_of(self.model_name)

    def of(self, context: Context, prompt: ParsedPrompt = NO_PROMPT, options: Options = NO_OPTIONS) -> "RequestBuilder":
        """Return the builder for the model that a member chose; raises `InvalidRequestError` for one that is not offered.

        A preferred model that is offered no more gives way to the default.
        """
        asked = options.model or prompt.flags.get("model")
        preferred = context.preferences
        if not asked and (preferred.preset or "preset" in prompt.flags):
            asked = added_to(prompt, preferred).flags.get("model")
        name = clean(asked or preferred.model or "")
        if asked and not name:
            raise InvalidRequestError("model", "There is no model of such a name. Choose one from the list.")
        found = find_name(self.engine.models, name)
        if not asked and not found:
            return self
        problems = Problems()
        with problems.collect():
            return self.for_model(found or name)
        problems.errors += prompt.errors
        options.request_fields(problems)
        problems.report()
        return self

    def for_model(self, name: str) -> "RequestBuilder":
        """Return the builder for the model called ``name``; raises `InvalidRequestError` if it is not offered."""
        self.engine.model_of(name)
        return RequestBuilder(self.engine, self.custom_styles, model_name=name, default_count=self.default_count)

    def while_typing(self, interaction: Interaction) -> "RequestBuilder":
        """Return the builder for the model that a member has chosen so far, while other options are typed."""
        chosen = getattr(interaction.namespace, "model", None)
        try:
            # A client can send a value of any type; only a command that is run has it checked.
            return self.of(Context.of(interaction), options=Options(model=chosen if isinstance(chosen, str) else None))
        except InvalidRequestError:
            return self

    @property
    def styles(self) -> Mapping[str, Style]:
        """The styles that members can choose by name."""
        return self.custom_styles or styles_of_words(self.model.defaults.styles)

    def build(self, context: Context, prompt: ParsedPrompt, options: Options = NO_OPTIONS, **fields: Any) -> ImageRequest:
        """Return the request of a member; raises `InvalidRequestError`.

        ``fields`` of `ImageRequest` override everything else.
        """
        chosen = self if self.model_name else self.of(context, prompt, options)
        if chosen is not self:
            return chosen.build(context, prompt, options, **fields)
        model = self.model
        preferred = context.preferences
        added = NO_PROMPT
        if preferred.preset or preferred.suffix or "preset" in prompt.flags:
            added = added_to(prompt, preferred)
            prompt = with_added(prompt, added)
        style_name = options.style or prompt.flags.get("style") or added.flags.get("style")
        style_name = style_name or (preferred.style if prompt.text else None)
        style = None
        problems = Problems(list(prompt.errors))
        with problems.collect():
            style = self._style(style_name) if style_name else None
        named = {} if options.quality in (None, STANDARD) else self.preset(options.quality, context.limits)
        if prompt.flags:
            named |= self._flags(prompt, context.limits)
        named |= options.request_fields(problems)
        named |= fields
        settings = self._defaults(context, style)
        if len(prompt.variants) > 1:
            settings["count"] = 1  # of each
        if added.flags:
            settings |= self._flags(added, context.limits)
        sampler = named.get("sampler") or settings.get("sampler")
        if options.quality or sampler == DISTILLED:  # these bring what is preferred otherwise
            left_out = PRESET_FIELDS if sampler != DISTILLED else (*PRESET_FIELDS, "guidance_scale")
            settings = {name: value for name, value in settings.items() if name not in left_out}
        if sampler == DISTILLED and not options.quality:
            settings["sampler"] = sampler
        settings |= named
        self._replace_invalid(settings, context.limits, problems)
        most = min(model.defaults.upscale, MAX_UPSCALED_SIDE // max(settings["width"], settings["height"]))
        settings.setdefault("upscale", max((factor for factor in UPSCALES if factor <= most), default=1))
        with problems.collect():
            request = model.request(most_steps=context.limits.steps, **self._with_prompt(settings, prompt, style))
            if not style_name:
                request = model.in_set_styles(request)
            model.validate(request)
        problems.report()
        return request

    def check(self, context: Context, prompt: ParsedPrompt, options: Options, **fields: Any) -> ImageRequest:
        """Raise what `build` would raise, before the picture to start from is read.

        Returns the request with another picture.
        """
        return self.build(context, prompt, options, image=ANY_IMAGE, **fields)

    def edit(self, context: Context, request: ImageRequest, prompt: ParsedPrompt, **fields: Any) -> ImageRequest:
        """Return ``request`` with another prompt and other ``fields``, by the model that the prompt's flags name.

        The flags of the prompt override both. Raises `InvalidRequestError`.
        """
        name = prompt.flags.get("model") or request.model
        name = find_name(self.engine.models, name) or name
        if name != self.model_name:
            return self.for_model(name).edit(context, request, prompt, **fields)
        if "preset" in prompt.flags:  # the suffix and the preset in use are in the prompt already
            named = preset_of(prompt, context.preferences)
            prompt = replace(with_added(prompt, named), flags={**named.flags, **prompt.flags})
        style_name = prompt.flags.get("style")
        style = self._style(style_name) if style_name else None
        settings: dict[str, Any] = {"count": request.count_each, "model": name} | self._adopted(request, context.limits)
        settings |= fields | self._flags(prompt, context.limits)
        problems = Problems(list(prompt.errors))
        limits = replace(context.limits, count=context.limits.frames) if request.morph_to else context.limits
        self._replace_invalid(settings, limits, problems)
        start_step = start_step_for(request.start_step / request.steps, settings.get("steps", request.steps))
        with problems.collect():
            edited = self.model.change(
                request,
                most_steps=context.limits.steps,
                start_step=start_step,
                **self._with_prompt(settings, prompt, style),
            )
            if request.styles:
                edited = edited.replace(styles=()) if style_name else self.model.in_set_styles(edited)
            self.model.validate(edited)
        problems.report()
        return edited

    def _adopted(self, request: ImageRequest, limits: Limits) -> dict[str, Any]:
        """Return the settings that ``request`` of another model takes from this one, as its own do not suit it."""
        model = self.model
        if {"": self.engine.model, **self.engine.models}.get(request.model) is model:
            return {}
        settings: dict[str, Any] = {"clip_skip": model.defaults.clip_skip}
        if request.sampler not in model.samplers:
            settings |= self.preset("standard", limits)
        if request.guide_label not in model.guide_labels:
            settings["guide_label"] = ""
        if request.width % model.grid or request.height % model.grid:
            settings["width"], settings["height"] = self.fit_aspect((request.width, request.height), limits)
        return settings

    def typed_texts(self, request: ImageRequest) -> list[str]:
        """Return the prompts and the negative prompt of ``request``, without the negative prompt of its style."""
        negative = request.negative_prompt
        for style in self.for_model(request.model).styles.values():
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

    def lora_notes(self, request: ImageRequest) -> tuple[Text, ...]:
        """Return a note on each LoRA of ``request`` whose trigger words are not in its prompts."""
        typed = " ".join(request.prompts).lower()
        offered = self.model.loras
        loras = [offered[name] for name, _ in request.loras if name in offered]
        silent = [lora for lora in loras if lora.triggers and not any(word.lower() in typed for word in lora.triggers)]
        return tuple(
            Text(
                "The LoRA {name} was trained with these words: {words}. Add one to the prompt if you do not see its effect.",
                name=lora.name,
                words=", ".join(f"“{word}”" for word in lora.triggers),
            )
            for lora in silent
        )

    def fit_aspect(self, aspect: tuple[float, float], limits: Limits) -> tuple[int, int]:
        """Return the size with the ratio ``aspect`` and the area of the model's square."""
        model = self.model
        return limits.shrink_size(*model.size_of(aspect[0] / aspect[1]), model.grid)

    def size_like(self, image: Image.Image, context: Context, prompt: ParsedPrompt, options: Options) -> dict[str, int]:
        """Return the width and height with the proportions of ``image``, or nothing if the member chose others."""
        if options.size is not None or "aspect" in prompt.flags:
            return {}
        width, height = self.fit_aspect(image.size, context.limits)
        return {"width": width, "height": height}

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
        loras = (*styled, *prompt.loras, *settings.get("loras", ()))
        offered = self._offered(loras) if loras else ()
        return settings | {"loras": offered} | prompt_fields(text, variants, settings["count"])

    def _offered(self, loras: Loras) -> Loras:
        """Return ``loras`` by the names that the model offers, in whichever case they were typed; the last of a name counts."""
        names = {name.lower(): name for name in self.model.loras}
        return join_loras(((names.get(name.lower(), name), weight) for name, weight in loras))

    def _replace_invalid(self, settings: dict[str, Any], limits: Limits, problems: Problems) -> None:
        """Note what is above ``limits`` and a sampler that the model does not have, and replace them in ``settings``.

        So nothing that follows from them is reported, too.
        """
        model = self.model
        if above := list(limits.find_errors(settings)):
            problems.errors += above
            settings |= {error.field: error.values["most"] for error in above if error.field in settings}
            if "width" in settings and not limits.allow_size(settings["width"], settings["height"]):
                size = limits.shrink_size(settings["width"], settings["height"], model.grid)
                settings["width"], settings["height"] = size
        if "sampler" in settings and settings["sampler"] not in model.samplers:
            with problems.collect():
                model.validate_sampler(settings.pop("sampler"))

    def _style(self, name: str) -> Style | None:
        return find_style(self.styles, clean(name))

    def _flags(self, prompt: ParsedPrompt, limits: Limits) -> dict[str, Any]:
        """Return the settings of the prompt's flags by the fields of `ImageRequest`."""
        flags = {name: value for name, value in prompt.flags.items() if name not in ("style", "aspect", "model", "preset")}
        if aspect := prompt.flags.get("aspect"):
            flags["width"], flags["height"] = self.fit_aspect(aspect, limits)
        return flags

    def preset(self, quality: str, limits: Limits) -> dict[str, Any]:
        """Return the settings of a chosen quality, with no more steps than allowed."""
        return self.model.settings_of(quality, limits.steps)

    def _defaults(self, context: Context, style: Style | None) -> dict[str, Any]:
        """Return the settings that the member prefers or that the style brings, lowered to the limits.

        A preference above the limits must not make the bot reject the request. What nobody chose is left to the model.
        """
        preferred = context.preferences
        limits = context.limits
        model = self.model
        side = model.sample_side
        width, height = parse_size(preferred.size) if preferred.size else (side, side)
        width, height = limits.shrink_size(width or side, height or side, model.grid)
        chosen = {} if preferred.quality in (None, STANDARD) else self.preset(preferred.quality, limits)
        if steps := (style and style.steps) or preferred.steps:
            chosen["steps"] = min(steps, limits.steps)
        guidance_scales = (scale for scale in (style and style.guidance, preferred.guidance) if scale is not None)
        if (guidance_scale := next(guidance_scales, None)) is not None:
            chosen["guidance_scale"] = guidance_scale
        if preferred.sampler in model.samplers and preferred.sampler != DISTILLED:  # it is the model's own choice
            chosen["sampler"] = preferred.sampler
        return {
            "width": width,
            "height": height,
            "seed": random_seed(),
            "count": min(preferred.count or self.default_count, limits.count),
            "model": self.model_name,
            **({} if preferred.variety is None else {"variety": preferred.variety}),
            **chosen,
        }
