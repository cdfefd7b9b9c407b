"""What other programs write into their pictures."""

from PIL import Image
from PIL.PngImagePlugin import PngInfo

FROM_A1111 = """a (red fox:1.3) in the snow, <lora:detail:0.8>, masterpiece
Negative prompt: blurry, (low quality:1.4),
bad anatomy
Steps: 28, Sampler: DPM++ 2M SDE, Schedule type: Karras, CFG scale: 6.5, Seed: 1871029, Size: 512x768, \
Model hash: 6ce0161689, Model: dreamshaper_8, VAE hash: 735e4c3a44, Denoising strength: 0.4, Clip skip: 2, \
Hires upscale: 1.5, Hires upscaler: Latent, Lora hashes: "detail: 7f1a9c, other: 0b2c", Version: v1.9.4"""


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": kind}}


def workflow(**changes):
    """As ComfyUI's example of Stable Diffusion 1.5 is saved."""
    return {
        "3": node(
            "KSampler",
            seed=156680208700286,
            steps=20,
            cfg=8.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=1,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="v1-5-pruned-emaonly.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=256, batch_size=1),
        "6": node("CLIPTextEncode", text="a glass bottle with a galaxy", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="ComfyUI", images=["8", 0]),
    } | changes


def with_texts(**texts):
    import io

    info, buffer = PngInfo(), io.BytesIO()
    for name, text in texts.items():
        info.add_text(name, text)
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()
