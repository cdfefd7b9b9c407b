"""ComfyUI: a graph of nodes in the chunk "prompt", or in the comment of a JPEG or WebP."""

from diffusion.images.metadata.comfyui.reader import read

__all__ = ["read"]
