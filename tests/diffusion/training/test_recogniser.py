from dataclasses import replace

import pytest
import torch

from diffusion.training.errors import TrainingError
from diffusion.training.prompts import EvaluationPrompt, draw_prompt, seen_prompts, unseen_prompts
from diffusion.training.recogniser import GROUNDS, Recogniser, split, to_bytes, to_float, train, vary
from diffusion.training.scenes import scenes


class Certain(Recogniser):
    """Sees what it is told to, in every picture."""

    def __init__(self, concepts, found, colour, ground):
        super().__init__(concepts, [8])
        self.found, self.seen_colour, self.seen_ground = found, colour, ground

    def forward(self, pixels):
        def sure(names, found):
            logits = torch.zeros(len(pixels), len(names))
            for rank, name in enumerate(found):
                logits[:, names.index(name)] = 10 - rank
            return logits

        colours = ("red", "orange", "yellow", "green", "blue", "purple", "pink")
        return sure(self.concepts, self.found), sure(colours, [self.seen_colour]), sure(GROUNDS, [self.seen_ground])


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (EvaluationPrompt("fox", ("fox",)), (True, True, True, True)),
        (EvaluationPrompt("star", ("star",)), (False, True, True, True)),
        (EvaluationPrompt("bear", ("bear",)), (False, False, True, False)),
        (EvaluationPrompt("blue fox", ("fox",), colour="blue"), (True, True, True, True)),
        (EvaluationPrompt("red fox", ("fox",), colour="red"), (True, True, False, False)),
        (EvaluationPrompt("fox on a pink background", ("fox",), background="pink"), (True, True, True, True)),
        (EvaluationPrompt("fox on a black background", ("fox",), background="black"), (True, True, False, False)),
        (EvaluationPrompt("fox and star", ("fox", "star")), (True, True, True, True)),
        (EvaluationPrompt("fox and bear", ("fox", "bear")), (True, True, False, False)),
        (EvaluationPrompt("blue apple", ("apple",), colour="blue"), (False, True, True, True)),
    ],
)
def test_judge_checks_subject_and_attribute(asked, expected, pictures):
    concepts = ["fox", "star", "red apple", "banana", "crown", "bear", "robot"]
    judge = Certain(concepts, ["fox", "star", "red apple", "banana", "crown"], "blue", "pink")

    (verdict,) = judge.judge([draw_prompt(EvaluationPrompt("fox", ("fox",)), pictures)], [asked])

    assert (verdict.top_1, verdict.top_5, verdict.attribute, verdict.both) == expected


def test_recogniser_learns_and_reads_back(pictures, config, tmp_path):
    longer = replace(config.recogniser, hidden_sizes=(16, 32), steps=150, batch_size=16)
    taught = train(tmp_path / "recogniser.pt", longer, config.data, pictures)
    again = Recogniser.read(tmp_path / "recogniser.pt", torch.device("cpu"))
    asked = seen_prompts(pictures, config.data, 21)
    images = [draw_prompt(shown, pictures) for shown in asked]

    assert again.judge(images, asked) == taught.judge(images, asked)
    assert again.accuracy == taught.accuracy
    assert sum(verdict.top_5 for verdict in taught.judge(images, asked)) >= 10  # 5 of 21 by chance


def test_split_holds_out_drawings_of_known_concepts(pictures, config):
    known, held_out = split(pictures, config.data)

    assert held_out and not set(held_out) & set(known)
    assert all(picture.style not in config.data.styles for picture in held_out)
    assert {picture.name for picture in held_out} <= {picture.name for picture in known}
    assert split(pictures, config.data) == (known, held_out)


def test_train_recogniser_rejects_an_archive_of_one_style(pictures, config, tmp_path):
    with pytest.raises(TrainingError, match="three styles"):
        train(tmp_path / "recogniser.pt", config.recogniser, config.data, [p for p in pictures if p.style == "fluent3d"])


def test_vary_keeps_range_and_colour(pictures):
    pixels = to_float(to_bytes([draw_prompt(EvaluationPrompt("fox", ("fox",)), pictures)] * 8))
    varied = vary(pixels, torch.Generator().manual_seed(0))

    assert varied.shape == pixels.shape and varied.min() >= -1 and varied.max() <= 1
    assert not torch.equal(varied[0], varied[1])
    assert (varied.mean((2, 3)) - pixels.mean((2, 3))).abs().max() < 0.35


def test_seen_prompts_are_repeatable_names_of_the_run(pictures, config):
    asked = seen_prompts(pictures, config.data, 5)

    assert asked == seen_prompts(pictures, config.data, 5) and len({shown.prompt for shown in asked}) == 5
    assert len(seen_prompts(pictures, config.data, 1000)) == len({picture.name for picture in pictures})


def test_unseen_prompts_are_in_no_caption(pictures, config):
    many = scenes(pictures, replace(config.data, backgrounds=3000, recolours=3000, pairs=5000))
    phrases = {phrase for scene in many for phrase in scene.description.phrases}

    assert len(unseen_prompts()) == 100
    assert phrases.isdisjoint(shown.prompt for shown in unseen_prompts())
