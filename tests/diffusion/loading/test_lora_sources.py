"""LORAS names folders and hub ids, of which only the file of the LoRA is downloaded, and everything else is refused."""

import json

import pytest

from diffusion.errors import DarkroomError
from diffusion.loading.lora_sources import find_lora_sources
from diffusion.lora.catalogue import NamedFile
from tests.support.hub_mirror import mirror
from tests.support.programs import user_with

OTHER = b"not to be downloaded"
REPOSITORIES = {  # by id: the sizes of their files
    "someone/ink-style": ["pytorch_lora_weights.safetensors", "README.md", "preview.png"],
    "someone/one": ["pixel-art-v2.safetensors", "optimizer.bin"],
    "someone/many": ["ash.safetensors", "nested/ink.safetensors", "oak.safetensors"],
    "someone/pickled": ["lora.bin"],
    "someone/whole-model": ["model_index.json", "unet/diffusion_pytorch_model.safetensors"],
    "someone/texts": ["README.md"],
}
SAID = {  # by setting: the name of the LoRA, or the sentence that refuses it
    "someone/ink-style": "ink-style",
    "someone/one": "pixel-art-v2",
    "someone/many/nested/ink.safetensors": "ink",
    "someone/many": "it has several files. Name one, as owner/name/ash.safetensors: ash.safetensors, oak.safetensors.",
    "someone/many/elm.safetensors": "it has no file elm.safetensors. Correct its name.",
    "someone/pickled": "it has no LoRA in safetensors. There is only lora.bin, a pickle: opening one can run any code, so it is"
    " not read.",
    "someone/whole-model": "it is a whole model, not a LoRA. Set MODEL_ID or MODELS to it.",
    "someone/texts": "it has no LoRA in safetensors.",
    "someone/nobody": "there is no such folder, and the hub knows no model of this name. A private one needs HF_TOKEN.",
}
FIND = """
import json, sys
from diffusion.errors import DarkroomError
from diffusion.loading.lora_sources import find_lora_sources
said = {}
for setting in json.loads(sys.argv[1]):
    try:
        (file,) = find_lora_sources(setting)
        said[setting] = file.name if file.path.read_bytes() == file.path.name.encode() else "another file"
    except DarkroomError as error:
        said[setting] = str(error)
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What became of each setting with the hub, what was downloaded, and what became of it without the hub later."""
    folder = tmp_path_factory.mktemp("hub")
    for id, files in REPOSITORIES.items():
        for name in files:
            path = folder / id / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(path.name.encode())
    run = user_with(folder / "cache")
    downloads = []
    with mirror({id: folder / id for id in REPOSITORIES}, downloads=downloads) as endpoint:
        first = run("-c", FIND, json.dumps(list(SAID)), HF_ENDPOINT=endpoint)
    later = run("-c", FIND, json.dumps(["someone/ink-style", "someone/texts"]), HF_HUB_OFFLINE="1")
    assert first.returncode == later.returncode == 0, first.stderr + later.stderr
    return json.loads(first.stdout), [name for name, _ in downloads], json.loads(later.stdout)


@pytest.mark.parametrize("setting", SAID)
def test_find_lora_sources_takes_hub_ids(said, setting):
    expected = SAID[setting]
    is_sentence = expected.endswith(".")
    assert said[0][setting] == (f"The setting LORAS is wrong: {setting}: {expected}" if is_sentence else expected)


def test_find_lora_sources_downloads_only_the_lora(said):
    assert sorted(said[1]) == ["nested/ink.safetensors", "pixel-art-v2.safetensors", "pytorch_lora_weights.safetensors"]


def test_find_lora_sources_takes_the_cache_without_the_hub(said):
    assert said[2]["someone/ink-style"] == "ink-style"
    assert "HF_HUB_OFFLINE forbids the download" in said[2]["someone/texts"]


@pytest.mark.parametrize("name", ["missing", "a/../b", "missing.safetensors"])
def test_find_lora_sources_names_a_missing_folder(tmp_path, name):
    with pytest.raises(DarkroomError, match="The setting LORAS is wrong: there is no folder"):
        find_lora_sources(f"{tmp_path}, {tmp_path / name}")
    with pytest.raises(DarkroomError, match="The setting LORAS is wrong: there is no folder"):
        find_lora_sources(name)


def test_find_lora_sources_takes_several_folders(tmp_path):
    assert find_lora_sources(f" {tmp_path} , {tmp_path}") == [tmp_path, tmp_path]
    assert find_lora_sources("") == []


def test_model_offers_a_file_by_its_name(tiny_components, tmp_path):
    from tests.support.lora_files import random_pairs, write_kohya
    from tests.support.models import model_of

    path = write_kohya(tmp_path / "pytorch_lora_weights.safetensors", random_pairs({"unet": tiny_components["unet"]}, 1))
    (tmp_path / "adapter_model.safetensors").write_bytes(b"damaged")
    model = model_of(tiny_components)
    model.offer_loras([NamedFile(path, "ink-style"), NamedFile(tmp_path / "adapter_model.safetensors", "oak")])
    assert [lora.name for lora in model.loras.values() if not lora.problem] == ["ink-style"]
    assert str(model.loras["oak"].problem).startswith("The file of the LoRA oak is damaged.")
