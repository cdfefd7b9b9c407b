"""Requests to a model that has a student, which draws plain pictures in few steps. No tensors."""

import sys
from collections.abc import Mapping
from typing import Any

from diffusion.errors import InvalidRequestError
from diffusion.families.defaults import Defaults, StudentDefaults
from diffusion.request import DISTILLED, SAMPLER_NAMES, ImageRequest, start_step_for


class StudentRequests:
    """Decides between a teacher and its student: the part of `ModelSpec` on that.

    The student draws requests with the sampler `DISTILLED`. All others are the teacher's, so a recipe says who drew it.
    """

    defaults: Defaults
    samplers: Mapping[str, int]
    sample_side: int

    @property
    def student_defaults(self) -> StudentDefaults | None:
        """What the student learned; None without a student."""
        return self.defaults.student if DISTILLED in self.samplers else None

    @property
    def teacher_settings(self) -> dict[str, Any]:
        """The settings of `ImageRequest` of the quality "standard" without a student."""
        return {"guidance_scale": self.defaults.guidance_scale, **self.defaults.of("standard")}

    @property
    def standard_settings(self) -> dict[str, Any]:
        """The settings of `ImageRequest` of a plain request in the quality "standard".

        They are those of the student, unless the operator has chosen others than it learned.
        """
        student = self.student_defaults
        return student.settings if student and student.teacher_settings == self.teacher_settings else self.teacher_settings

    @property
    def draws_fast(self) -> bool:
        """Whether the student draws the quality "fast", as its teacher would take more steps."""
        standard = self.standard_settings
        return bool(standard["sampler"] == DISTILLED and standard["steps"] < self.defaults.of("fast")["steps"])

    def settings_of(self, quality: str, most_steps: int) -> dict[str, Any]:
        """Return the teacher's settings of `ImageRequest` in ``quality``, with at most ``most_steps``."""
        preset = self.defaults.of(quality)
        return preset | {"steps": min(preset["steps"], most_steps)}

    def in_quality(self, request: ImageRequest, quality: str, most_steps: int) -> ImageRequest:
        """Return ``request`` of the teacher with guidance in those of its steps that ``quality`` names.

        The student draws it where it draws new requests in that quality.
        """
        if request.sampler == DISTILLED:
            return request
        own = self.settings_of(quality, most_steps)
        changed = request.replace(**{name: own[name] for name in ("guidance_interval", "guidance_period")})
        standard = self.standard_settings
        is_open = (quality == "standard" or (quality == "fast" and self.draws_fast)) and standard["steps"] <= most_steps
        is_own = is_open and _has(changed, {"guidance_scale": self.defaults.guidance_scale, **own})
        return changed.replace(**standard) if is_own and self.is_plain(changed) else changed

    def suits_student(self, request: ImageRequest) -> bool:
        """Whether the student can draw ``request``."""
        student = self.student_defaults
        return student is not None and self.is_plain(request) and _has(request, student.settings)

    def by_teacher(self, request: ImageRequest, most_steps: int = sys.maxsize) -> ImageRequest:
        """Return ``request`` for the teacher, with its own settings in place of those of the student.

        It has at most ``most_steps``. Branches begin where the student's step would have begun. Requests of the teacher stay
        as they are.
        """
        if request.sampler != DISTILLED:
            return request
        own = self._teacher_settings_within(most_steps)
        student = self.student_defaults
        begun = [step / student.steps for step in student.states] if student else []
        shares = begun if len(begun) == request.steps else [step / request.steps for step in range(request.steps)]
        branches = tuple((max(1, round(shares[step] * own["steps"])), prompt) for step, prompt in request.branches)
        start_step = start_step_for(request.start_step / request.steps, own["steps"])
        return request.replace(**own, branches=branches, start_step=start_step)

    def reassign(self, request: ImageRequest, most_steps: int = sys.maxsize) -> ImageRequest:
        """Return ``request``, or in place of one of the student that does not suit it that of the teacher.

        The teacher's has at most ``most_steps``.
        """
        is_unsuited = self.student_defaults is not None and not self.suits_student(request)
        return self.by_teacher(request, most_steps) if is_unsuited and not request.by_upscaler else request

    def change(self, request: ImageRequest, *, most_steps: int = sys.maxsize, **changes: Any) -> ImageRequest:
        """Return ``request`` with ``changes``; of those that do not suit the student, the teacher's.

        The teacher's has its own settings where the changes name no others, of which the steps are lowered to ``most_steps``.
        """
        new = {name: value for name, value in changes.items() if getattr(request, name) != value}
        student = self.student_defaults
        if student and new.get("sampler") == DISTILLED:
            return request.replace(**student.settings | new)
        if request.sampler != DISTILLED:
            return request.replace(**changes)
        if student and not new.keys() & student.settings.keys() and self.is_plain(request.replace(**changes)):
            return request.replace(**changes)
        return self.by_teacher(request, most_steps).replace(**new)

    def validate_student(self, request: ImageRequest) -> None:
        """Raise `InvalidRequestError` if ``request`` names the student, which cannot draw it."""
        if (student := self.student_defaults) and request.sampler == DISTILLED and not self.suits_student(request):
            raise InvalidRequestError(
                "sampler",
                "The sampler {name} draws plain pictures of {side}x{side} alone, with guidance 1 and this number of steps:"
                " {steps}. Leave out the other settings, or choose another sampler.",
                name=SAMPLER_NAMES[DISTILLED],
                side=self.sample_side,
                steps=len(student.states),
            )

    def _teacher_settings_within(self, most_steps: int) -> dict[str, Any]:
        own = self.teacher_settings
        return own | {"steps": min(own["steps"], most_steps)}

    def is_plain(self, request: ImageRequest) -> bool:
        """Whether ``request`` asks for nothing that only the teacher knows, whatever its steps and guidance."""
        return _has(
            request,
            {
                "width": self.sample_side,
                "height": self.sample_side,
                "negative_prompt": "",
                "image": None,
                "mask": None,
                "is_edit": False,
                "start_step": 0,
                "branches": (),
                "morph_to": "",
                "loras": (),
                "guide_label": "",
                "clip_skip": self.defaults.clip_skip,
            },
        )


def _has(request: ImageRequest, settings: Mapping[str, Any]) -> bool:
    return all(getattr(request, name) == value for name, value in settings.items())
