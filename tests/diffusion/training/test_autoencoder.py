import math
from dataclasses import replace

import pytest
import torch
from diffusers import AutoencoderKL

from diffusion.training.augment import augment, on_white, rotate_hue
from diffusion.training.autoencoder import AutoencoderTraining, measure_scaling_factor, new_autoencoder, train, widen
from diffusion.training.reconstruction import psnr, reconstruction_loss, split, to_rgba

CPU = torch.device("cpu")


def test_psnr_measures_each_picture():
    a = torch.zeros(2, 3, 8, 8)
    b = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 0.02)])

    assert psnr(a, b).tolist() == pytest.approx([20, 40], abs=1e-3)


def test_reconstruction_loss_is_zero_for_equal_pictures():
    pixels = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1

    assert reconstruction_loss(pixels, pixels).item() == 0
    assert reconstruction_loss(pixels + 0.1, pixels) > 0


def test_split_holds_out_whole_names_repeatably(pictures):
    both = [*pictures, *pictures]
    learned, held_out = split(both, share=0.2)

    assert {picture.name for picture in learned}.isdisjoint(picture.name for picture in held_out)
    assert len(learned) + len(held_out) == len(both) and len({picture.name for picture in held_out}) == 4
    assert split(list(reversed(both)), share=0.2)[1] == list(reversed(held_out))


@pytest.mark.parametrize("size", [64, 128])
def test_augment_is_repeatable_and_in_range(pictures, size):
    rgba = to_rgba(pictures[:8])
    first = augment(rgba, size, torch.Generator().manual_seed(3))

    assert first.shape == (8, 3, size, size)
    assert first.min() >= -1 and first.max() <= 1
    assert torch.equal(first, augment(rgba, size, torch.Generator().manual_seed(3)))
    assert not torch.equal(first, augment(rgba, size, torch.Generator().manual_seed(4)))


def test_on_white_fills_transparent_pixels(pictures):
    assert on_white(to_rgba(pictures[:1]))[0, :, 0, 0].tolist() == pytest.approx([1, 1, 1])


def test_rotate_hue_by_a_full_turn_changes_nothing():
    rgb = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))

    assert torch.allclose(rotate_hue(rgb, torch.tensor([0.0, 2 * math.pi])), rgb, atol=1e-5)


def test_measure_scaling_factor_gives_unit_deviation(pictures, config):
    vae = new_autoencoder(config.autoencoder).eval()
    factor = measure_scaling_factor(vae, pictures)
    with torch.inference_mode():
        latents = vae.encode(on_white(to_rgba(pictures))).latent_dist.mode()

    assert vae.config.scaling_factor == factor
    assert (latents * factor).std().item() == pytest.approx(1, abs=0.02)


def test_autoencoder_training_resumes_exactly(pictures, config, tmp_path):
    rgba = to_rgba(pictures[:2])

    def descend(training: AutoencoderTraining, steps: int) -> None:
        for _ in range(steps):
            generator = torch.Generator().manual_seed(training.step)
            training.update(augment(rgba, 64, generator), 1e-3, 0.5, generator)

    straight = AutoencoderTraining.start(config.autoencoder, CPU)
    descend(straight, 1)
    straight.checkpoint(tmp_path / "checkpoint.pt")
    descend(straight, 1)
    resumed = AutoencoderTraining.start(config.autoencoder, CPU)
    resumed.resume(tmp_path / "checkpoint.pt")
    descend(resumed, 1)

    assert resumed.step == 2
    assert all(torch.equal(a, b) for a, b in zip(straight.vae.parameters(), resumed.vae.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(straight.ema.shadow_params, resumed.ema.shadow_params, strict=True))


def test_averaged_restores_the_weights(config):
    training = AutoencoderTraining.start(config.autoencoder, CPU)
    with torch.no_grad():
        training.vae.encoder.conv_in.bias += 1
    with training.averaged() as vae:
        lent = vae.encoder.conv_in.bias.detach().clone()

    assert torch.allclose(training.vae.encoder.conv_in.bias, lent + 1)


@torch.inference_mode()
def test_widen_keeps_the_reconstructions_of_the_autoencoder(config):
    torch.manual_seed(0)
    narrow = new_autoencoder(config.autoencoder).eval()
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1

    wide = widen(narrow, replace(config.autoencoder, latent_channels=7)).eval()
    before, after = narrow.encode(pixels).latent_dist, wide.encode(pixels).latent_dist

    assert after.mean.shape[1] == 7
    assert torch.allclose(before.mean, after.mean[:, :4], atol=1e-5)
    assert torch.allclose(before.logvar, after.logvar[:, :4], atol=1e-5)
    assert torch.allclose(narrow.decode(before.mean).sample, wide.decode(after.mean).sample, atol=1e-5)


def test_train_with_an_anchor_keeps_its_scaling_factor(run, config, pictures, tmp_path):
    anchor = AutoencoderKL.from_pretrained(run / "vae")
    wide = replace(config.autoencoder, latent_channels=6, steps=1)

    train(tmp_path, wide, pictures, anchor=anchor, device=torch.device("cpu"))

    trained = AutoencoderKL.from_pretrained(tmp_path / "vae")
    assert trained.config.latent_channels == 6
    assert trained.config.scaling_factor == anchor.config.scaling_factor
