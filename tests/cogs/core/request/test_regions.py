import pytest

from cogs.core.request.regions import REGIONS, parse_region, pixel_box
from diffusion.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("text", "box"),
    [
        ("left", (0, 0, 100, 100)),
        (" Right ", (100, 0, 200, 100)),
        ("top", (0, 0, 200, 50)),
        ("bottom", (0, 50, 200, 100)),
        ("middle", (50, 25, 150, 75)),
        ("25,0,50,40", (50, 0, 150, 40)),
        ("25%, 0%, 50%, 40%", (50, 0, 150, 40)),
        ("0 0 100 100", (0, 0, 200, 100)),
        ("12.5,12.5,0.1,0.1", (25, 12, 26, 13)),
        ("99.9,99.9,0.1,0.1", (199, 99, 200, 100)),
    ],
)
def test_parse_region_reads_names_and_percentages(text, box):
    assert pixel_box(parse_region(text), (200, 100)) == box


@pytest.mark.parametrize(
    "text", ["", "somewhere", "1,2,3", "1,2,3,4,5", "-1,0,50,50", "0,0,0,50", "60,0,50,50", "0,60,10,50", "٣,0,9,9"]
)
def test_parse_region_rejects_other_text(text):
    with pytest.raises(InvalidRequestError, match="left, right, top, bottom, middle or") as refused:
        parse_region(text)
    assert refused.value.field == "region"


@pytest.mark.parametrize("name", REGIONS)
def test_pixel_box_of_a_tiny_picture_is_one_pixel(name):
    assert pixel_box(REGIONS[name], (1, 1)) == (0, 0, 1, 1)
