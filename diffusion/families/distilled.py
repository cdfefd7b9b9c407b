"""Models that were distilled to draw in few steps, recognized without being told."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from diffusion.families.defaults import Defaults, Preset

FEW_STEPS: Final = ("euler", "euler_a", "euler_trailing", "euler_a_trailing", "ddim_trailing", "dpm++_sde", "lcm", "tcd")
MOST_NAMED_STEPS: Final = 16  # larger numbers in a name are those of its training
STEPS: Final = re.compile(r"(?<!\d)(\d{1,2})[-_ ]?steps?(?![a-z])")
TRAILING_SCHEDULERS: Final = ("EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler")


@dataclass(frozen=True)
class Distilled:
    """A way of distilling: the words in names that tell it, and what suits such models.

    ``steps`` are those of the qualities draft, standard and fine. Where ``one_number`` holds, each model was made for one
    number of steps, which its name tells.
    """

    words: re.Pattern[str]
    sampler: str
    steps: tuple[int, int, int]
    samplers: tuple[str, ...] = FEW_STEPS
    guidance_scale: float = 1.0
    one_number: bool = False

    def defaults(self, base: Defaults, name: str) -> Defaults:
        """Return ``base``, the defaults of a family, with what suits a model of this ``name``."""
        draft, standard, fine = self.steps
        named = STEPS.search(name) if self.one_number else None
        if named and 1 <= int(named[1]) <= MOST_NAMED_STEPS:
            draft = standard = fine = int(named[1])
        return replace(
            base,
            steps=standard,
            guidance_scale=self.guidance_scale,
            guidance_interval=(0.0, 1.0),
            sampler=self.sampler,
            samplers=self.samplers,
            presets={
                "draft": Preset(draft, self.sampler),
                "fine": Preset(fine, self.sampler),
                "classic": Preset(standard, self.sampler),
            },
        )


def _words(expression: str) -> re.Pattern[str]:
    """Match ``expression`` as a word of a name, such as that of a file."""
    return re.compile(rf"(?<![a-z])(?:{expression})(?![a-z])")


# In the order in which they are tried. Steps and samplers are those that the models' own pages recommend.
TURBO: Final = Distilled(_words("turbo"), "euler_trailing", (1, 2, 4))
LCM: Final = Distilled(_words("lcm"), "lcm", (2, 4, 8))
KINDS: Final = (
    Distilled(_words("lightning"), "euler_trailing", (4, 4, 8), one_number=True),
    Distilled(_words("hyper(?![-_ ]?(?:real|detail))"), "ddim_trailing", (4, 8, 8), one_number=True),
    Distilled(_words("dmd2?"), "lcm", (4, 4, 8), one_number=True),
    Distilled(_words("tcd"), "tcd", (4, 4, 8)),
    LCM,
    TURBO,
)
# A consistency model reads the guidance scale as an input, so one row is enough for any scale.
READS_GUIDANCE: Final = replace(LCM, samplers=("lcm",), guidance_scale=8.5)


def suggest_defaults(
    base: Defaults, names: Iterable[str], scheduler: Mapping[str, Any], unet: Mapping[str, Any] | None = None
) -> Defaults:
    """Return the defaults of a model of a family with the defaults ``base``.

    ``names`` are what it is called: its id, folder, file, and title in its metadata. ``scheduler`` and ``unet`` are its
    configurations; the former has its class. What the network reads counts first, then the names, then the scheduler.
    """
    name = " ".join(names).lower()
    kind = _kind(name, scheduler, unet or {})
    if kind is None or (base.samplers and kind.sampler not in base.samplers):
        return base
    return kind.defaults(base, name)


def _kind(name: str, scheduler: Mapping[str, Any], unet: Mapping[str, Any]) -> Distilled | None:
    if unet.get("time_cond_proj_dim") is not None:
        return READS_GUIDANCE
    if named := next((kind for kind in KINDS if kind.words.search(name)), None):
        return named
    kind = scheduler.get("_class_name")
    if kind == "LCMScheduler":
        return LCM
    if kind == "TCDScheduler":
        return next(each for each in KINDS if each.sampler == "tcd")
    if kind in TRAILING_SCHEDULERS and _ends_at_the_first_step(scheduler):
        return TURBO
    return None


def _ends_at_the_first_step(scheduler: Mapping[str, Any]) -> bool:
    """Whether ``scheduler`` begins at the last training step, as models of few steps do.

    So do models with zero terminal SNR, which draw in many steps and predict v.
    """
    is_zero_snr = scheduler.get("rescale_betas_zero_snr") or scheduler.get("prediction_type") == "v_prediction"
    return scheduler.get("timestep_spacing") == "trailing" and not is_zero_snr
