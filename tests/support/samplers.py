"""Samplers for tests of what depends on how a sampler steps; each sampler is compared with diffusers' elsewhere."""

KINDS_OF_STEPS = ("lms", "ddim", "euler", "euler_a", "heun", "dpm++", "unipc", "dpm++_sde", "dpm2", "pndm", "lcm")
