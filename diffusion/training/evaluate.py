"""Judge a model: reconstruction, denoising loss, and a sheet of pictures from prompts it has and has not seen."""

import json
import random
import textwrap
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image, ImageDraw, ImageFont
from torch.nn import functional as F
from transformers import CLIPTextModel, CLIPTokenizer

from diffusion.training.captions import captions
from diffusion.training.forward import q_sample, stratified_timesteps, velocity
from diffusion.training.latents import read_latents
from diffusion.training.pictures import SIZE, Picture
from diffusion.training.reconstruction import held_out_psnr

SEEN = (
    "red apple, 3d",
    "fox, 3d",
    "smiling face with sunglasses, 3d",
    "grinning cat, 3d",
    "pizza, 3d",
    "panda, 3d",
    "rocket, 3d",
    "red heart",
    "sunflower, 3d",
    "ghost, 3d",
    "hamburger, 3d",
    "penguin, 3d",
)
UNSEEN = (  # see scenes.HELD_OUT
    "grinning cat wearing sunglasses, 3d",
    "fox wearing a top hat, 3d",
    "blue apple, 3d",
    "purple banana, 3d",
    "panda on a pink background, 3d",
    "dragon and star",
    "penguin wearing glasses",
    "robot wearing a crown, 3d",
    "yellow car, 3d",
    "bear wearing a graduation cap",
    "dog face and pizza, 3d",
    "a cute puppy sticker",
)
COLUMNS, GAP, LINE = 8, 6, 14
BLACK, BLUE = (20, 20, 24), (30, 80, 200)

Generate = Callable[[list[str], list[int]], list[Image.Image]]


@dataclass(frozen=True)
class Evaluation:
    """What was measured: PSNR in dB, mean squared error of the velocity over ``samples`` latents, seconds a picture."""

    held_out_psnr: float
    velocity_loss: float
    samples: int
    seconds_per_picture: float


def evaluate(
    model: Path, pictures: list[Picture], latents: Path, generate: Generate, output: Path, samples: int = 2048
) -> Evaluation:
    """Measure the model folder ``model`` and write ``evaluation.json`` and ``grid.webp`` to ``output``.

    ``pictures`` is the whole archive and ``latents`` the training latents of the same autoencoder; ``generate`` draws
    one picture for each prompt and seed.
    """
    output.mkdir(parents=True, exist_ok=True)
    vae = AutoencoderKL.from_pretrained(model / "vae", dtype=torch.float32)
    quality = held_out_psnr(vae.to(_device()), pictures)
    loss = velocity_loss(model, latents, samples)
    grid, seconds = draw_grid(generate)
    grid.save(output / "grid.webp", quality=92)
    evaluation = Evaluation(quality, loss, samples, seconds)
    (output / "evaluation.json").write_text(json.dumps(asdict(evaluation), indent=2) + "\n")
    return evaluation


@torch.inference_mode()
def velocity_loss(model: Path, latents: Path, samples: int, batch_size: int = 64) -> float:
    """Give the model's mean squared error of the velocity over ``samples`` training latents, captions never dropped.

    Latents, captions, noise and the timesteps, spread evenly over all noise levels, are the same at every call, so that
    two models of one autoencoder can be compared.
    """
    device = _device()
    unet = UNet2DConditionModel.from_pretrained(model / "unet", dtype=torch.float32).to(device)
    text_encoder = CLIPTextModel.from_pretrained(model / "text_encoder", dtype=torch.float32).to(device)
    tokenizer = CLIPTokenizer.from_pretrained(model / "tokenizer")
    alphas_cumprod = DDIMScheduler.from_pretrained(model / "scheduler").alphas_cumprod
    every, weights, descriptions = read_latents(latents)
    generator = torch.Generator().manual_seed(0)
    rows = torch.multinomial(weights, samples, replacement=True, generator=generator)
    texts = captions([descriptions[row] for row in rows.tolist()], 0.0, random.Random(0))
    timesteps = stratified_timesteps(samples, len(alphas_cumprod), generator)
    noise = torch.randn((samples, *every.shape[1:]), generator=generator)
    total = 0.0
    for start in range(0, samples, batch_size):
        part = slice(start, start + batch_size)
        x_0, eps = every[rows[part]].to(device), noise[part].to(device)
        alpha_bar_t = alphas_cumprod[timesteps[part]].to(device)
        tokens = tokenizer(texts[part], padding="max_length", truncation=True, return_tensors="pt")
        with torch.autocast(device.type, torch.bfloat16):
            prompt_embeds = text_encoder(tokens.input_ids.to(device)).last_hidden_state
            noisy = q_sample(x_0, eps, alpha_bar_t)
            predicted = unet(noisy, timesteps[part].to(device), prompt_embeds).sample
        target = velocity(x_0, eps, alpha_bar_t)
        total += F.mse_loss(predicted.float(), target, reduction="sum").item()
    return total / noise.numel()


def draw_grid(generate: Generate) -> tuple[Image.Image, float]:
    """Draw `SEEN` and `UNSEEN` with seeds 0, 1, 2, …; gives a captioned sheet and the seconds a picture took."""
    prompts = [*SEEN, *UNSEEN]
    started = time.perf_counter()
    images = generate(prompts, list(range(len(prompts))))
    seconds = (time.perf_counter() - started) / len(prompts)
    font = ImageFont.load_default(11)
    width, height = SIZE + GAP, SIZE + 2 * LINE + GAP
    sheet = Image.new("RGB", (COLUMNS * width + GAP, -(-len(prompts) // COLUMNS) * height + GAP + LINE), "white")
    pen = ImageDraw.Draw(sheet)
    for index, (prompt, image) in enumerate(zip(prompts, images, strict=True)):
        x, y = GAP + index % COLUMNS * width, GAP + index // COLUMNS * height
        sheet.paste(image, (x, y))
        caption = "\n".join(textwrap.wrap(prompt, 22))
        pen.multiline_text((x, y + SIZE), caption, BLUE if prompt in UNSEEN else BLACK, font, spacing=1)
    pen.text((GAP, sheet.height - LINE - 2), "blue captions: never seen in training", BLUE, font)
    return sheet, seconds


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
