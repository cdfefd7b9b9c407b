import json
from dataclasses import asdict, replace

import pytest
import torch
from PIL import Image, ImageDraw
from safetensors.torch import save_file

from diffusion.families.classifier import NoisyLatentClassifier
from diffusion.training.captions import Description
from diffusion.training.classifier import BANDS, UNKNOWN, Accuracy, as_targets, held_out, train
from diffusion.training.labels import COLOURS, GROUPS, Labels, group_of, labels_of, main_colour
from diffusion.training.latents import DESCRIPTIONS_FILE, LABELS_FILE, LATENTS, read_labels
from diffusion.training.pictures import Picture


def disc(colour, ground="white"):
    image = Image.new("RGB", (128, 128), ground)
    ImageDraw.Draw(image).ellipse((34, 34, 94, 94), colour)
    return image


@pytest.mark.parametrize(
    ("pixel", "colour"),
    [
        ((215, 30, 40), "red"),
        ((245, 130, 30), "orange"),
        ((250, 210, 60), "yellow"),
        ((70, 170, 70), "green"),
        ((40, 110, 220), "blue"),
        ((130, 60, 190), "purple"),
        ((245, 140, 190), "pink"),
        ((120, 75, 50), "brown"),
        ((25, 22, 30), "black"),
        ((140, 140, 148), "grey"),
        ((240, 238, 242), "white"),
    ],
)
@pytest.mark.parametrize("ground", ["white", "red", "blue"])
def test_main_colour_ignores_the_background(pixel, colour, ground):
    if (colour, ground) not in {("red", "red"), ("white", "white")}:
        assert main_colour(disc(pixel, ground)) == colour


def test_main_colour_counts_white_inside_the_subject():
    egg = disc((150, 150, 155))
    ImageDraw.Draw(egg).ellipse((38, 38, 90, 90), "white")
    assert main_colour(egg) == "white"


def test_main_colour_of_a_plain_picture_is_its_own():
    assert main_colour(Image.new("RGB", (128, 128), (70, 170, 70))) == "green"


@pytest.mark.parametrize(
    ("name", "group", "keywords", "label"),
    [
        ("fox", "Animals & Nature", ("animal", "nature"), "animal"),
        ("tulip", "Animals & Nature", ("flower", "plant"), "plant"),
        ("pizza", "Food & Drink", (), "food"),
        ("grinning face", "Smileys & Emotion", ("smile",), "face"),
        ("red heart", "Smileys & Emotion", ("love",), "heart"),
        ("zzz", "Smileys & Emotion", (), ""),
        ("automobile", "Travel & Places", ("red", "transportation", "vehicle"), "vehicle"),
        ("castle", "Travel & Places", ("building",), "place"),
        ("kite", "Activities", (), "activity"),
        ("hammer", "Objects", (), "object"),
        ("flag france", "Flags", (), ""),
    ],
)
def test_group_of_uses_everyday_names(name, group, keywords, label):
    assert group_of(Picture("fluent3d", name, group, keywords, b"")) == label
    assert label in (*GROUPS, "")


def test_labels_of_two_groups_have_no_group(pictures):
    fox, dog, pizza = (next(each for each in pictures if each.name == name) for name in ("fox", "dog face", "pizza"))
    assert labels_of((fox, dog), disc("red")) == Labels(("fox", "dog face"), "animal", "red")
    assert labels_of((fox, pizza), disc("red")) == Labels(("fox", "pizza"), "", "red")


def test_held_out_takes_a_share_of_the_subjects(run):
    labels = read_labels(run / "latents")
    unseen = held_out(labels, 0.1)
    kept = {name for row, out in zip(labels, unseen.tolist(), strict=True) if not out for name in row.subjects}
    gone = {row.subjects[0] for row, out in zip(labels, unseen.tolist(), strict=True) if out and len(row.subjects) == 1}

    assert {row.colour for row in labels} <= set(COLOURS)
    assert len(gone) == 2 and gone.isdisjoint(kept)
    assert torch.equal(unseen, held_out(labels, 0.1))
    assert as_targets([Labels((), "", "red"), Labels((), "food", "black")]).tolist() == [
        [UNKNOWN, COLOURS.index("red")],
        [GROUPS.index("food"), COLOURS.index("black")],
    ]


def test_train_classifier_is_repeatable_and_measures_bands(run, config, tmp_path):
    (tmp_path / "latents").symlink_to(run / "latents")
    found = train(tmp_path, config.classifier, torch.device("cpu"))

    assert [(each.first, each.last) for each in found] == [(first, first + 199) for first in range(0, 1000, 200)]
    assert all(0 <= share <= 1 for each in found for share in (each.groups, each.colours))
    first, again = (NoisyLatentClassifier.from_pretrained(folder / "classifier") for folder in (run, tmp_path))
    assert first.labels == (*GROUPS, *COLOURS)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_classifier_accuracy_falls_with_noise(config, tmp_path):
    labels = [Labels((f"thing {index}",), GROUPS[index % 2], COLOURS[index % 3]) for index in range(60)]
    latents = torch.zeros(60, 4, 4, 4)
    for index in range(60):
        latents[index, index % 2] += 1
        latents[index, :, :, index % 3] += 1
    folder = tmp_path / "latents"
    folder.mkdir()
    save_file({"latents": latents.half(), "weights": torch.full((60,), 1 / 60)}, folder / LATENTS)
    (folder / DESCRIPTIONS_FILE).write_text(json.dumps([asdict(Description("", ())) for _ in labels]))
    (folder / LABELS_FILE).write_text(json.dumps([asdict(row) for row in labels]))

    longer = replace(config.classifier, steps=80, batch_size=32, held_out=0.4, block_out_channels=(16, 32), dropout=0.0)
    found = train(tmp_path, longer, torch.device("cpu"))

    assert len(found) == BANDS
    assert found[0].groups > 0.9 and found[0].colours > 0.9
    assert found[-1].colours < found[0].colours


def test_accuracy_formats_as_a_line():
    assert str(Accuracy(0, 199, 0.5, 0.925)) == "t   0 to 199: groups 50.0%, colours 92.5%"
