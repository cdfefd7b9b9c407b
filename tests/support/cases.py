"""Pictures as other programs and people make them. tests/cases/README.md says what each one is."""

from pathlib import Path

FOLDER = Path(__file__).parents[1] / "cases"
PICTURES = (
    "fmt.avif",
    "icc_swapped.png",
    "iccp_1400k.png",
    "mask_la_white_on_transparent.png",
    "text_badcrc.png",
    "ztxt_1500k.png",
)
CASES = {name: (FOLDER / name).read_bytes() for name in PICTURES}
