"""A tiny archive of drawn shapes and a recipe to match."""

import io
from pathlib import Path

from PIL import Image, ImageDraw

from diffusion.training.pictures import Picture

CONCEPTS = {
    "red apple": ("Food & Drink", (220, 40, 40), ("fruit", "healthy")),
    "banana": ("Food & Drink", (240, 210, 60), ("fruit",)),
    "pizza": ("Food & Drink", (230, 170, 60), ("slice", "cheese")),
    "hot beverage": ("Food & Drink", (120, 80, 50), ("coffee",)),
    "automobile": ("Travel & Places", (60, 90, 220), ("car",)),
    "star": ("Travel & Places", (250, 220, 70), ("night",)),
    "fox": ("Animals & Nature", (230, 120, 40), ("animal",)),
    "dog face": ("Animals & Nature", (190, 140, 90), ("pet",)),
    "cat face": ("Animals & Nature", (240, 190, 80), ("pet",)),
    "panda": ("Animals & Nature", (90, 90, 90), ()),
    "penguin": ("Animals & Nature", (40, 40, 60), ()),
    "bear": ("Animals & Nature", (140, 90, 50), ()),
    "dragon": ("Animals & Nature", (70, 160, 80), ()),
    "robot": ("Smileys & Emotion", (150, 160, 170), ("machine",)),
    "grinning cat": ("Smileys & Emotion", (245, 200, 70), ("smile",)),
    "sunglasses": ("Objects", (30, 30, 30), ()),
    "glasses": ("Objects", (80, 80, 90), ()),
    "top hat": ("Objects", (20, 20, 20), ()),
    "crown": ("Objects", (240, 200, 60), ("king",)),
    "graduation cap": ("Objects", (50, 50, 70), ()),
    "billed cap": ("Objects", (70, 110, 210), ()),
}
RECIPE = """
[data]
styles = ["fluent3d"]
without_groups = ["Flags"]
without_names = ["clock"]
style_weights = {}
group_weights = {}
synthetic_share = 0.3
backgrounds = 8
recolours = 8
pairs = 8
seed = 0
[tokenizer]
entries = 740
[autoencoder]
latent_channels = 4
block_out_channels = [8, 8, 8, 8]
layers_per_block = 1
steps = 4
batch_size = 2
learning_rate = 0.02
kl_weight = 8e-4
[classifier]
block_out_channels = [8, 8]
dropout = 0.1
steps = 2
batch_size = 4
learning_rate = 0.01
weight_decay = 0.05
held_out = 0.1
[denoiser]
block_out_channels = [32, 32]
text_width = 32
text_layers = 1
batch_size = 2
learning_rate = 0.01
weight_decay = 0.05
warmup_steps = 2
ema_decay = 0.9
caption_dropout = 0.1
[distil]
states = [0, 1]
between = 0.5
batch_size = 2
learning_rate = 0.01
warmup_steps = 2
ema_decay = 0.9
[recogniser]
hidden_sizes = [8, 8]
steps = 3
batch_size = 4
learning_rate = 0.02
weight_decay = 0.1
"""


class PlainModel:
    """Stands for the engine's model: paints one plain picture a prompt."""

    @classmethod
    def from_pretrained(cls, folder: Path) -> "PlainModel":
        assert (folder / "model_index.json").exists()
        return cls()

    def generate(self, prompts: list[str], *, seeds: list[int], width: int, height: int, **options) -> list[Image.Image]:
        return [Image.new("RGB", (width, height), (seed * 10, 80, 160)) for _, seed in zip(prompts, seeds, strict=True)]


def draw(name: str, style: str = "fluent3d") -> Picture:
    group, colour, keywords = CONCEPTS[name]
    image = Image.new("RGBA", (128, 128))
    pen = ImageDraw.Draw(image)
    pen.ellipse((20, 14, 108, 114), (*colour, 255))
    pen.rectangle((50, 4, 78, 60), (*reversed(colour), 200))
    webp = io.BytesIO()
    image.save(webp, "WEBP")
    return Picture(style, name, group, keywords, webp.getvalue())
