"""The precision of training."""

import torch

from diffusion.loading.device import best_dtype


def autocast_bfloat16(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 if ``device`` supports it natively.

    Emulated bfloat16 is ten times slower than float32.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=best_dtype(device) == torch.bfloat16)
