"""How the embedded model was made: data, tokenizer, networks, evaluation.

It needs the ``train`` extra. Each stage reads and writes one run folder; see ``python -m diffusion.training --help``.
"""
