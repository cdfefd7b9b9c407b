"""A student that draws plain pictures in few steps, beside its teacher."""

import json
from dataclasses import replace

import pytest
import torch
from PIL import Image

from diffusion.errors import InvalidRequestError, ModelLoadError
from diffusion.families.defaults import Defaults, override
from diffusion.families.model import ImageModel
from diffusion.loading.memory import bytes_by_part, network_bytes
from diffusion.loading.model import describe_model, load_model
from diffusion.loading.random_weights import build_tiny_components
from diffusion.request import DISTILLED
from diffusion.sampling.jumps import jump_weights
from diffusion.sampling.trajectory import denoise_all
from tests.support.models import LEARNED, TAUGHT, model_of, taught_model_of
from tests.support.parity import difference_of

STUDENTS = {"steps": 3, "guidance_scale": 1.0, "sampler": DISTILLED, "guidance_interval": (0.0, 1.0)}
TEACHERS = {"steps": 8, "guidance_scale": 3.0, "sampler": "dpm++", "guidance_interval": (0.0, 0.8)}
PICTURE = Image.new("RGB", (32, 32))
NAMES = " ".join  # of what a case changes
ONLY_THE_TEACHERS = [
    {"negative_prompt": "a dog"},
    {"width": 64},
    {"image": PICTURE, "start_step": 2},
    {"branches": ((2, "a dog"),)},
    {"morph_to": "a dog", "count": 2},
    {"guide_label": "red"},
    {"clip_skip": 2},
    {"loras": (("ink", 1.0),)},
]


def settings_of(request):
    return {name: getattr(request, name) for name in STUDENTS}


@pytest.fixture(scope="module")
def components():
    return build_tiny_components("v_prediction")


@pytest.fixture(scope="module")
def plain(components):
    return model_of(components, replace(TAUGHT, student=None))


@pytest.fixture(scope="module")
def model(components):
    return taught_model_of(components)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, components, model):
    folder = tmp_path_factory.mktemp("taught")
    for name, component in components.items():
        component.save_pretrained(folder / name)
    model.student.save_pretrained(folder / "student")
    (folder / "model_index.json").write_text("{}")
    (folder / "darkroom.json").write_text(json.dumps({"steps": 8, "student": {"steps": 8, "states": [0, 3], **LEFT_OUT}}))
    return folder


LEFT_OUT = {"sampler": "dpm++", "guidance_scale": 3.0}


def test_a_plain_request_is_the_students(model):
    assert settings_of(model.request("a fox")) == STUDENTS
    assert settings_of(model.request("a fox", count=4, seed=3, upscale=2, negative_prompt="")) == STUDENTS
    assert settings_of(model.request("a fox", sampler=DISTILLED)) == STUDENTS


@pytest.mark.parametrize(
    "given", [{"steps": 8}, {"guidance_scale": 3.0}, {"sampler": "dpm++"}, *ONLY_THE_TEACHERS], ids=" ".join
)
def test_any_other_request_is_the_teachers(model, given):
    request = model.request("a fox", **given)

    assert settings_of(request) == TEACHERS
    assert model.reassign(request) is request


@pytest.mark.parametrize("given", ONLY_THE_TEACHERS, ids=NAMES)
def test_what_does_not_suit_the_student_is_refused_and_reassigned(model, given):
    unsuited = model.request("a fox").replace(**given)
    with pytest.raises(InvalidRequestError, match="The sampler Distilled draws plain pictures of 32x32 alone"):
        model.validate_student(unsuited)

    assert settings_of(model.reassign(unsuited)) == TEACHERS


@pytest.mark.parametrize("given", [{"steps": 8}, {"guidance_scale": 3.0}], ids=NAMES)
def test_settings_of_a_teacher_are_refused_with_the_students_sampler(model, given):
    with pytest.raises(InvalidRequestError, match="guidance 1 and this number of steps: 3"):
        model.validate(model.request("a fox", sampler=DISTILLED, **given))


def test_branches_begin_where_the_students_step_began(model):
    branched = model.request("a fox").branch_at(2, "a dog")

    assert model.reassign(branched).branches == ((6, "a dog"),)
    assert model.by_teacher(model.request("a fox"), most_steps=5).steps == 5


def test_changes_keep_the_student_or_take_the_teachers_settings(model, plain):
    drawn = model.request("a fox", seed=1)

    assert settings_of(model.change(drawn, prompt="a dog", steps=3)) == STUDENTS
    assert settings_of(model.change(drawn, negative_prompt="a dog", steps=3)) == TEACHERS
    assert settings_of(model.change(drawn, steps=5, guidance_scale=1.0)) == TEACHERS | {"steps": 5}
    assert settings_of(model.change(drawn, sampler="euler", steps=3)) == TEACHERS | {"sampler": "euler"}
    assert settings_of(plain.change(drawn, prompt="a dog")) == TEACHERS
    assert settings_of(model.change(plain.request("a fox"), sampler=DISTILLED)) == STUDENTS
    assert settings_of(model.change(plain.request("a fox", steps=5), prompt="a dog")) == TEACHERS | {"steps": 5}


def test_a_chosen_quality_is_drawn_as_in_a_new_request(model, plain):
    chosen = {quality: model.settings_of(quality, 150) for quality in ("draft", "fast", "standard", "fine")}
    for drawn in (model.request("a fox"), plain.request("a fox"), model.request("a fox", **chosen["draft"])):
        edits = {
            quality: model.change(drawn, guidance_scale=drawn.guidance_scale, steps=own["steps"], sampler=own["sampler"])
            for quality, own in chosen.items()
        }
        for quality, edited in edits.items():
            wanted = model.request("a fox", **chosen[quality] if quality != "standard" else {})
            assert model.in_quality(edited, quality, 150) == wanted, (drawn, quality)

    assert settings_of(model.request("a fox", **chosen["fast"])) == STUDENTS
    assert model.in_quality(plain.request("a fox", seed=4), "standard", 2).sampler == "dpm++"
    for given in (*ONLY_THE_TEACHERS, {"guidance_scale": 2.0}, {"sampler": "euler"}):
        teachers = plain.request("a fox").replace(**given)
        assert model.in_quality(teachers, "standard", 150) == teachers


def test_other_defaults_of_the_operator_are_the_teachers(components, model):
    other = ImageModel(model.family, defaults=replace(TAUGHT, steps=9), student=model.student)

    assert settings_of(other.request("a fox")) == TEACHERS | {"steps": 9}
    assert settings_of(other.request("a fox", sampler=DISTILLED)) == STUDENTS
    assert settings_of(model.request("a fox", most_steps=2)) == TEACHERS | {"steps": 2}


def test_rows_of_teacher_and_student_in_one_call_equal_each_alone(model):
    requests = [
        model.request("a fox", seed=1),
        model.request("a dog", seed=2, steps=4),
        model.request("two cats", seed=3),
        model.request("a barn", seed=4, negative_prompt="a dog", sampler="euler"),
    ]

    together = denoise_all(model, [model.trajectory(request) for request in requests])

    for request, found in zip(requests, together, strict=True):
        assert difference_of(found, denoise_all(model, [model.trajectory(request)])[0]) <= 1e-4


def test_the_teacher_draws_as_without_a_student(model, plain):
    for settings in ({"steps": 4}, TEACHERS, {"sampler": "heun", "steps": 3, "negative_prompt": "a dog"}):
        [found], [wanted] = (each.generate(["a fox"], seeds=[1], **settings) for each in (model, plain))
        assert found.tobytes() == wanted.tobytes()


def test_the_student_follows_its_jumps(model):
    request = model.request("a fox", seed=1)
    [found] = denoise_all(model, [model.trajectory(request)])

    teacher = model.solver("dpm++", 8)
    x_t = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(1))
    embeds = model.family.encode("a fox", request).tensors["prompt_embeds"]
    levels = [teacher.levels[state] for state in LEARNED.states] + [(1.0, 0.0)]
    for index, state in enumerate(LEARNED.states):
        with torch.no_grad():
            velocity = model.student(x_t, teacher.steps[state].timestep, embeds).sample
        kept, turned = jump_weights(*levels[index : index + 2])
        x_t = kept * x_t + turned * velocity
    assert difference_of(found, x_t) <= 1e-4
    assert difference_of(found, denoise_all(model, [model.trajectory(request.replace(**TEACHERS))])[0]) > 0.01


def test_a_folder_with_a_student_is_loaded_with_it(folder):
    model, described = load_model(folder, "cpu"), describe_model(folder, "cpu")

    assert model.samplers[DISTILLED] == described.samplers[DISTILLED] == 2
    assert len(model.generate(["a fox"], sampler=DISTILLED)) == 1
    assert bytes_by_part(described)["network"] == bytes_by_part(model)["network"]
    assert bytes_by_part(model)["network"] == network_bytes(model.student) + network_bytes(model.family.denoiser)


def test_a_missing_student_is_refused_by_name(plain, tmp_path):
    with pytest.raises(ModelLoadError, match="its defaults name a student, and there is none"):
        ImageModel(plain.family, name="tiny", defaults=TAUGHT)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"states": [0, 3, 3]}, "student: its states must rise from 0 and stay below its 8 steps"),
        ({"states": [1, 3]}, "must rise from 0"),
        ({"states": [0, 8]}, "must rise from 0"),
        ({"sampler": "best"}, "There is no sampler 'best'"),
        ({"sampler": DISTILLED}, "distilled is the student's own"),
        ({"layers": 2}, "student.layers"),
    ],
    ids=str,
)
def test_a_student_that_could_not_draw_is_refused_by_name(changes, reason):
    named = {"steps": 8, "states": [0, 3], **LEFT_OUT} | changes
    with pytest.raises(ModelLoadError, match=reason):
        override(Defaults(), json.dumps({"student": named}), source="tiny", place="darkroom.json")
