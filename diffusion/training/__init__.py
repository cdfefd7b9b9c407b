"""How the embedded model was made: pictures, tokenizer, autoencoder, denoiser, evaluation.

Needs the ``train`` extra. Each stage reads and writes one run folder; see ``python -m diffusion.training --help``.
"""
