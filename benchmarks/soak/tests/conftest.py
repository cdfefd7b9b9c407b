import pytest

from diffusion.loading.random_weights import build_tiny_components


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory):
    """A model of toy size as `from_pretrained` reads it."""
    folder = tmp_path_factory.mktemp("model")
    for name, component in build_tiny_components().items():
        component.save_pretrained(folder / name)
    (folder / "model_index.json").write_text("{}")
    return folder
