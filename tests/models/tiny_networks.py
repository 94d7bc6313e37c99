"""Tiny random networks of many architectures, without tokenizers."""

from __future__ import annotations

VOCABULARY = 300
_COMMON = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
_GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
#: Those whose rows may share, by what makes them special.
SHARING = {
    "llama": {},
    "gpt2": _GPT,  # learned positions
    "mistral": {"sliding_window": 16},  # every layer slides
    "gemma2": {"sliding_window": 16, "head_dim": 8},  # half of the layers slide
    "gemma3_text": {"sliding_window": 16, "head_dim": 8},
    "gpt_neox": {},
    "mixtral": {"num_local_experts": 4},
}
#: Those whose rows may not.
PLAIN = {
    "bloom": {"n_head": 4, "n_layer": 2},  # ALiBi
    "mamba": {"state_size": 8},
    # attention and Mamba
    "jamba": {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1},
}


def build(kind: str, **more):
    """A random network of `kind`, in float32."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    special = {**SHARING, **PLAIN}[kind]
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**_COMMON, **special, **more})
    return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
