"""In which precision training computes."""

import torch

from diffusion.loading.device import best_dtype


def autocast_bfloat16(device: torch.device) -> torch.autocast:
    """Compute in bfloat16 inside where ``device`` does so natively: emulated, it takes ten times as long as float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=best_dtype(device) == torch.bfloat16)
