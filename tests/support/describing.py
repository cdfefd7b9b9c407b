"""Networks of toy size that describe pictures, with random weights, as `load_describer` reads them."""

import csv

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertLMHeadModel,
    PreTrainedTokenizerFast,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    ViTModel,
)

WORDS = ("red", "green", "blue", "fox", "apple", "on", "a", "table")
SIDE = 32
VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "image_size": SIDE,
    "patch_size": 16,
}


def build_captioner(folder):
    """Write a network that describes pictures in random words."""
    torch.manual_seed(0)
    specials = {"pad_token": "[PAD]", "bos_token": "[BOS]", "eos_token": "[EOS]", "unk_token": "[UNK]"}
    vocabulary = {word: index for index, word in enumerate([*specials.values(), *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **specials).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    text = BertConfig(vocab_size=len(vocabulary), is_decoder=True, add_cross_attention=True, **sizes)
    network = VisionEncoderDecoderModel(encoder=ViTModel(ViTConfig(**VIT)), decoder=BertLMHeadModel(text))
    for config in (network.config, network.generation_config):
        config.decoder_start_token_id, config.pad_token_id, config.eos_token_id = 1, 0, 2
    network.save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def build_tagger(folder, tags=("1girl", "red_apple", "fox_(animal)"), *, is_wd=True, problem_type=None):
    """Write a classifier which is surer of a tag the further it stands in front."""
    torch.manual_seed(0)
    config = ViTConfig(**VIT, id2label=dict(enumerate(tags)), problem_type=problem_type)
    network = ViTForImageClassification(config)
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.copy_(torch.linspace(2, -1, len(tags)))
    network.save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    if is_wd:
        with (folder / "selected_tags.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("tag_id", "name", "category", "count"))
            rows.writerows((index, tag, 9 if tag == "general" else 0, 1) for index, tag in enumerate(tags))
    return folder
