from dataclasses import replace

import pytest

from diffusion.training.config import TrainingConfig
from diffusion.training.pictures import Picture, read_archive, write_archive
from diffusion.training.scenes import HELD_OUT, Scene, scenes


@pytest.fixture(scope="module")
def many(pictures: list[Picture], config: TrainingConfig) -> list[Scene]:
    return scenes(pictures, replace(config.data, backgrounds=3000, recolours=3000, pairs=5000))


def test_scenes_never_describe_held_out_combinations(many: list[Scene]):
    phrases = {phrase for scene in many for phrase in scene.description.phrases}

    for thing, other in HELD_OUT:
        assert phrases.isdisjoint(
            {
                f"{thing} wearing {other}",
                f"{thing} wearing a {other}",
                f"{thing} with {other}",
                f"{thing} with a {other}",
                f"{other} {thing}",
                f"a {other} {thing}",
                f"{thing} and {other}",
                f"{other} and {thing}",
                f"{thing} on {other}",
                f"{thing} on a {other}",
            }
        )
    # Their like are: the words are known, and so are other combinations of them.
    assert {"penguin wearing sunglasses", "blue banana", "banana on a pink background", "dragon and pizza"} <= phrases


def test_scenes_never_draw_held_out_pairs(many: list[Scene]):
    for scene in many:
        drawn = [argument.name for argument in scene.draw.args if isinstance(argument, Picture)]
        assert tuple(drawn) not in HELD_OUT and tuple(reversed(drawn)) not in HELD_OUT


def test_scenes_give_compositions_their_share(many: list[Scene]):
    composed = sum(scene.weight for scene in many if scene.description.phrases)

    assert composed == pytest.approx(0.3)
    assert sum(scene.weight for scene in many) == pytest.approx(1)


def test_scenes_of_every_kind_draw_a_picture(many: list[Scene]):
    kinds = {scene.draw.func.__name__: scene for scene in many}

    assert len(kinds) == 6
    for scene in kinds.values():
        image = scene.draw()
        assert (image.size, image.mode) == ((128, 128), "RGB")


def test_wanted_selects_styles_and_groups(pictures: list[Picture], config: TrainingConfig):
    others = [replace(pictures[0], style="noto", name="noto apple"), replace(pictures[0], group="Flags", name="flag")]
    names = {name for scene in scenes([*pictures, *others], config.data) for name in scene.description.names}

    assert names.isdisjoint({"noto apple", "flag"})


def test_read_archive_inverts_write_archive(pictures: list[Picture], tmp_path):
    write_archive(pictures, tmp_path / "archive")

    assert read_archive(tmp_path / "archive") == pictures
