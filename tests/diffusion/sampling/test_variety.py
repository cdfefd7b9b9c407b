"""Pictures of one prompt that differ more, and nothing else that changes with it."""

import pytest
import torch
from PIL import Image

from diffusion.errors import InvalidRequestError
from diffusion.request import ImageRequest
from diffusion.sampling.conditions import Conditions
from diffusion.sampling.samplers import SAMPLERS
from diffusion.sampling.trajectory import denoise_all, step
from diffusion.sampling.variety import loose_stages

LOOSE = ImageRequest("a fox", "", 32, 32, 8, 3.0, "dpm++", seed=5, variety=60)


def stages_of(model, request, conditions, seed=0):
    solver = model.solver(request.sampler, request.steps, request.start_step if request.image else 0)
    return list(loose_stages(request, solver, conditions, torch.Generator().manual_seed(seed)))


def embeddings():
    generator = torch.Generator().manual_seed(1)
    return Conditions(
        {"prompt_embeds": 3 + 2 * torch.randn(1, 77, 32, generator=generator), "time_ids": torch.full((1, 6), 512.0)}
    )


def test_stages_go_from_loose_to_the_prompt_before_the_last_steps(tiny_model):
    conditions = embeddings()
    stages = stages_of(tiny_model, LOOSE, conditions)
    assert [call for call, _ in stages] == [0, 1, 3, 4, 6]
    clean = conditions.tensors["prompt_embeds"]
    distances = [(stage.tensors["prompt_embeds"] - clean).square().mean().item() for _, stage in stages]
    assert distances == sorted(distances, reverse=True) and distances[0] > 1 and distances[-1] == 0
    assert all(torch.equal(stage.tensors["time_ids"], conditions.tensors["time_ids"]) for _, stage in stages)


@pytest.mark.parametrize(("steps", "calls"), [(1, [0]), (2, [0, 1]), (4, [0, 1, 2, 3]), (50, [0, 9, 18, 27, 37])])
def test_stages_are_few_whatever_the_steps(tiny_model, steps, calls):
    assert [call for call, _ in stages_of(tiny_model, LOOSE.replace(steps=steps), embeddings())] == calls


def test_loose_embeddings_keep_mean_and_deviation_and_the_share_of_the_prompt(tiny_model):
    conditions = embeddings()
    clean = conditions.tensors["prompt_embeds"]
    for variety, similarity in ((19, 0.9), (75, 0.5), (100, 0)):
        _, loose = stages_of(tiny_model, LOOSE.replace(variety=variety), conditions)[0]
        mixed = loose.tensors["prompt_embeds"]
        assert mixed.mean().item() == pytest.approx(3, abs=0.1) and mixed.std().item() == pytest.approx(2, abs=0.1)
        assert torch.corrcoef(torch.stack([mixed.flatten(), clean.flatten()]))[0, 1].item() == pytest.approx(
            similarity, abs=0.05
        )


@pytest.mark.parametrize(("start", "calls"), [(0, [0, 1, 3, 4, 6]), (2, [0, 1, 2, 4]), (5, [0, 1]), (6, [0]), (7, [0])])
def test_a_later_start_is_as_loose_as_the_same_step_from_noise(tiny_model, start, calls):
    whole = dict(stages_of(tiny_model, LOOSE, embeddings()))
    stages = stages_of(tiny_model, LOOSE.replace(image=Image.new("RGB", (32, 32)), start_step=start), embeddings())
    assert [call for call, _ in stages] == calls
    _, first = stages[0]
    same = whole[max(call for call in whole if call <= start)]
    assert torch.equal(first.tensors["prompt_embeds"], same.tensors["prompt_embeds"])


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_variety_in_a_mixed_batch_is_as_when_alone(tiny_model, sampler):
    picture = Image.linear_gradient("L").resize((32, 32)).convert("RGB")
    requests = [
        LOOSE.replace(sampler=sampler),
        LOOSE.replace(sampler=sampler, variety=0),
        LOOSE.replace(sampler=sampler, variety=100, guidance_scale=1.0),
        LOOSE.replace(sampler=sampler, branches=((3, "plant"),)),
        LOOSE.replace(sampler=sampler, image=picture, start_step=2),
    ]
    alone = [denoise_all(tiny_model, [tiny_model.trajectory(request)])[0] for request in requests]
    together = denoise_all(tiny_model, [tiny_model.trajectory(request) for request in requests])
    assert max((a - b).abs().max().item() for a, b in zip(alone, together, strict=True)) <= 1e-3
    assert (alone[0] - alone[1]).abs().max() > 1e-3


def test_a_branch_ends_the_loose_steps(tiny_model):
    trajectory = tiny_model.trajectory(LOOSE.replace(branches=((2, "plant"),)))
    assert [branch.step_index for branch in trajectory.branches] == [1, 2]
    while not trajectory.done:
        step(tiny_model, [trajectory])
    plant = tiny_model.family.rows(LOOSE, tiny_model.family.encode("plant", LOOSE))
    assert torch.equal(trajectory.conditions.tensors["prompt_embeds"], plant.tensors["prompt_embeds"])


def test_variety_depends_on_the_seed_alone(tiny_model):
    two = LOOSE.replace(count=2)
    first, again, other = (denoise_all(tiny_model, [tiny_model.trajectory(two, index)])[0] for index in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_variety_out_of_range_is_refused():
    for variety in (-1, 101):
        with pytest.raises(InvalidRequestError, match="from 0 to 100"):
            LOOSE.replace(variety=variety)
