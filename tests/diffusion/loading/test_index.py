import pytest

from diffusion.families.stable_diffusion import StableDiffusion
from diffusion.loading.index import family_of, is_single_file


@pytest.mark.parametrize(
    "index",
    [
        pytest.param('{"_class_name": "StableDiffusionPipeline"}', id="its own"),
        pytest.param('{"_class_name": "UnknownPipeline"}', id="unknown"),
        pytest.param("{", id="damaged"),
        pytest.param("[]", id="no object"),
        pytest.param(None, id="missing"),
    ],
)
def test_family_of_reads_the_index_and_falls_back_to_stable_diffusion(tmp_path, index):
    if index is not None:
        (tmp_path / "model_index.json").write_text(index)
    assert family_of(str(tmp_path)) is StableDiffusion


def test_family_of_finds_a_registered_family(tmp_path, monkeypatch):
    class Another(StableDiffusion):
        pipeline = "AnotherPipeline"

    monkeypatch.setattr("diffusion.loading.index.FAMILIES", {Another.pipeline: Another})
    (tmp_path / "model_index.json").write_text('{"_class_name": "AnotherPipeline"}')
    assert family_of(str(tmp_path)) is Another


@pytest.mark.parametrize(("source", "single"), [("model.safetensors", True), ("model.ckpt", True), ("owner/model", False)])
def test_is_single_file_goes_by_the_suffix(source, single):
    assert is_single_file(source) is single
