import torch

from diffusion.training.denoiser import alphas_cumprod
from diffusion.training.forward import q_sample, stratified_timesteps, velocity


def test_q_sample_keeps_unit_variance():
    generator = torch.Generator().manual_seed(0)
    x_0, noise = torch.randn(2, 500, 4, 16, 16, generator=generator)
    alpha_bar_t = alphas_cumprod()[torch.linspace(0, 999, 500).long()]

    x_t = q_sample(x_0, noise, alpha_bar_t)

    assert abs(x_t.mean()) < 0.01
    assert torch.allclose(x_t.flatten(1).std(1), torch.ones(500), atol=0.15)


def test_q_sample_spans_clean_latents_to_noise():
    x_0, noise = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(0))

    assert torch.allclose(q_sample(x_0, noise, torch.ones(1)), x_0)
    assert torch.allclose(q_sample(x_0, noise, torch.zeros(1)), noise)


def test_velocity_determines_latents_and_noise():
    x_0, noise = torch.randn(2, 6, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    alpha_bar_t = alphas_cumprod()[torch.tensor([0, 10, 300, 600, 900, 999])]
    x_t, v = q_sample(x_0, noise, alpha_bar_t), velocity(x_0, noise, alpha_bar_t)
    signal = alpha_bar_t.sqrt()[:, None, None, None]
    spread = (1 - alpha_bar_t).sqrt()[:, None, None, None]

    assert torch.allclose(signal * x_t - spread * v, x_0, atol=1e-5)
    assert torch.allclose(spread * x_t + signal * v, noise, atol=1e-5)


def test_stratified_timesteps_fall_one_in_each_slice():
    timesteps = stratified_timesteps(50, 1000, torch.Generator().manual_seed(0))

    assert (timesteps // 20).tolist() == list(range(50))
