"""Tiny Hugging Face models from their configs; nothing is downloaded."""

import torch
from torch import nn

from zoo.registry import Step, case


def language_model(model: nn.Module, vocabulary: int = 64) -> tuple[nn.Module, Step]:
    tokens = torch.randint(3, vocabulary, (2, 12))

    def step(model: nn.Module) -> torch.Tensor:
        return model(input_ids=tokens, labels=tokens).loss

    return model.train(), step


def gpt2(**options: str) -> tuple[nn.Module, Step]:
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=2, bos_token_id=0,
        eos_token_id=0, **options,
    )  # fmt: skip
    return language_model(GPT2LMHeadModel(config))


def llama(**options: str) -> tuple[nn.Module, Step]:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32, **options,
    )  # fmt: skip
    return language_model(LlamaForCausalLM(config))


def bert(**options: str) -> tuple[nn.Module, Step]:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=32, num_labels=3, **options,
    )  # fmt: skip
    tokens, labels = torch.randint(3, 64, (4, 12)), torch.randint(0, 3, (4,))
    mask = torch.ones(4, 12, dtype=torch.long)
    mask[0, 8:] = 0

    def step(model: nn.Module) -> torch.Tensor:
        return model(input_ids=tokens, attention_mask=mask, labels=labels).loss

    return BertForSequenceClassification(config).train(), step


@case()
def huggingface_gpt2() -> tuple[nn.Module, Step]:
    return gpt2()


@case()
def huggingface_gpt2_eager() -> tuple[nn.Module, Step]:
    return gpt2(attn_implementation="eager")


@case(warns=("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning",))
def huggingface_gpt2_checkpointed() -> tuple[nn.Module, Step]:
    model, step = gpt2()
    model.gradient_checkpointing_enable({"use_reentrant": False})
    return model, step


@case()
def huggingface_llama() -> tuple[nn.Module, Step]:
    return llama()


@case()
def huggingface_llama_eager() -> tuple[nn.Module, Step]:
    return llama(attn_implementation="eager")


@case()
def huggingface_bert() -> tuple[nn.Module, Step]:
    return bert()


@case()
def huggingface_bert_eager() -> tuple[nn.Module, Step]:
    return bert(attn_implementation="eager")


@case()
def huggingface_t5() -> tuple[nn.Module, Step]:
    from transformers import T5Config, T5ForConditionalGeneration

    config = T5Config(
        vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2,
        decoder_start_token_id=0,
    )  # fmt: skip
    return language_model(T5ForConditionalGeneration(config))
