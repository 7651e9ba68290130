"""A tiny Hugging Face GPT-2 that predicts the next character of Python's own documentation.

isograd check examples/gpt2_tiny.py:target
"""

from pydoc_data.topics import topics  # text that comes with Python

import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel

CONTEXT, BATCH = 64, 8


def target():
    torch.manual_seed(0)
    text = "\n".join(topics.values())
    alphabet = sorted(set(text))
    number = {character: i for i, character in enumerate(alphabet)}
    codes = torch.tensor([number[c] for c in text[: BATCH * CONTEXT]])
    tokens = codes.view(BATCH, CONTEXT)

    config = GPT2Config(
        vocab_size=len(alphabet),
        n_positions=CONTEXT,
        n_embd=64,
        n_layer=4,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
    )

    def step(model):
        logits = model(tokens[:, :-1]).logits
        return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())

    return GPT2LMHeadModel(config).train(), step
