import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diffusion.errors import InvalidImageError
from diffusion.images.io import enlarge, fit, read_image, to_png
from diffusion.images.parameters import format_parameters, read_parameters
from diffusion.request import ImageRequest


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_read_image_keeps_rgb_pixels():
    image = Image.effect_mandelbrot((40, 30), (-2, -1, 1, 1), 50).convert("RGB")
    assert np.array_equal(np.asarray(read_image(encoded(image))), np.asarray(image))


@pytest.mark.parametrize("data", [b"", b"junk" * 100, b"<svg></svg>", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_read_image_rejects_other_files(data):
    with pytest.raises(InvalidImageError, match="attach"):
        read_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_read_image_rejects_truncated_pictures(kind):
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    data = encoded(noise, kind)
    with pytest.raises(InvalidImageError):
        read_image(data[: len(data) // 2])


def test_read_image_rejects_too_many_pixels_before_decoding():
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    with pytest.raises(InvalidImageError, match="pixels"):
        read_image(bomb)
    with pytest.raises(InvalidImageError, match="The limit is"):
        read_image(encoded(Image.new("RGB", (200, 100))), max_pixels=19_999)


def test_read_image_takes_the_first_frame():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data).getpixel((4, 4)) == (255, 0, 0)


def test_read_image_applies_the_exif_orientation():
    image = Image.new("RGB", (20, 10), "white")
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    assert read_image(encoded(image, "JPEG", exif=exif.tobytes())).size == (10, 20)


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"),
        (Image.new("RGB", (8, 8), "red").quantize(4), "PNG"),
        (Image.new("RGB", (8, 8), "red").quantize(4), "GIF"),
        (Image.new("RGBA", (8, 8), (255, 0, 0, 255)), "WEBP"),
    ],
)
def test_read_image_converts_other_colour_modes(image, kind):
    pixel = read_image(encoded(image, kind)).getpixel((4, 4))
    assert abs(pixel[0] - 255) < 6 and pixel[1] < 6 and pixel[2] < 6


@pytest.mark.parametrize("mode", ["LA", "RGBA", "P"])
def test_read_image_lays_transparency_on_white(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 4, 8))
    read = read_image(encoded(image.convert(mode)))
    assert read.getpixel((1, 1)) == (0, 0, 0)
    assert read.getpixel((6, 6)) == (255, 255, 255)


def test_read_image_keeps_the_shades_of_16_bits():
    ramp = np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(4, 0)
    read = np.asarray(read_image(encoded(Image.fromarray(ramp))))[0, :, 0]
    assert read[0] == 0 and read[-1] == 255
    assert np.all(np.diff(read.astype(int)) >= 3)


def test_fit_crops_to_the_middle_and_keeps_proportions():
    image = Image.new("RGB", (300, 100), "white")
    image.paste("red", (100, 0, 200, 100))
    fitted = fit(image, 32, 32)
    assert fitted.size == (32, 32)
    assert fitted.getpixel((16, 16)) == (255, 0, 0)


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_enlarge_keeps_the_picture_without_halos(factor):
    image = Image.new("RGB", (96, 64), (200, 180, 160))
    image.paste((40, 60, 80), (32, 16, 64, 48))
    larger = enlarge(image, factor)
    assert larger.size == (96 * factor, 64 * factor)
    assert np.abs(np.asarray(fit(larger, 96, 64)).astype(int) - np.asarray(image)).mean() < 2
    assert (np.asarray(larger).min(), np.asarray(larger).max()) == (40, 200)


def test_enlarge_sharpens_edges():
    image = Image.new("L", (16, 16), 60)
    image.paste(180, (8, 0, 16, 16))

    def steepest(larger):
        return np.abs(np.diff(np.asarray(larger)[8].astype(int))).max()

    assert steepest(enlarge(image, 2)) > steepest(image.resize((32, 32), Image.Resampling.LANCZOS))


@pytest.mark.parametrize(
    "request_",
    [
        ImageRequest("a fox, red: yes\nsecond line", "blurry", 128, 64, 20, 3.5, "dpm++", 42),
        ImageRequest("grüner Apfel 🍏", sampler="euler_a"),
        ImageRequest("a fox", upscale=4),
        ImageRequest("a fox", image=Image.new("RGB", (8, 8)), start_step=17, sampler="ddim"),
        ImageRequest("a fox", guide_label="light blue", label_scale=0.75),
        ImageRequest("a fox", branches=((3, 'a "red", round: apple'), (9, "a pear,\nSeed: 7"))),
        ImageRequest("a fox", morph_to='a "dog": brown, big', count=12),
        ImageRequest("a fox", image=Image.new("RGB", (8, 8)), start_step=3, guide_label="food", label_scale=0.0),
    ],
)
def test_read_parameters_inverts_format_parameters(request_):
    png = to_png(Image.new("RGB", (8, 8)), format_parameters(request_, 77, "tiny"))
    assert ImageRequest(**read_parameters(png), image=request_.image) == request_.replace(seed=77)


def test_format_parameters_has_the_form_of_other_tools():
    text = format_parameters(ImageRequest("a fox", "a dog", 512, 768, 20, 7.0, "dpm++", 1), 1, "tiny")
    assert text == (
        "a fox\nNegative prompt: a dog\n"
        "Steps: 20, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 7, Seed: 1, Size: 512x768, Model: tiny"
    )


def test_format_parameters_names_the_upscaler():
    assert format_parameters(ImageRequest("a fox", upscale=2), 1, "tiny").endswith("Hires upscale: 2, Hires upscaler: Lanczos")


@pytest.mark.parametrize("data", [b"junk", to_png(Image.new("RGB", (4, 4))), to_png(Image.new("RGB", (4, 4)), "just text")])
def test_read_parameters_rejects_pictures_without_them(data):
    with pytest.raises(InvalidImageError, match="no generation settings"):
        read_parameters(data)
