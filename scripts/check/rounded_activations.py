"""What it comes to that llama.cpp rounds activations to 8 bits before it multiplies them with blocks of Q8_0 and Q4_0.

    python scripts/check/rounded_activations.py EXPORT     # needs numpy, and gguf from PyPI

EXPORT is a folder that `gradprompt export --to gguf` made of a llama, with its self-test.json. A forward pass in NumPy is compared with the
logits in there, exact and with activations rounded as ggml's quantize_row_q8_0 does (blocks of 32, a largest magnitude / 127 as a half). Prints
a JSON line for each case: `exact`, how far the expected logits are from the exact pass; `rounded`, how far the largest ones move against the
first by rounding alone, as `node self-test.mjs --float32-cache` says of llama.cpp itself.
"""
import glob
import json
import os
import sys

import numpy
from gguf import GGMLQuantizationType, GGUFReader, dequantize

folder = sys.argv[1]
reader = GGUFReader(glob.glob(os.path.join(folder, "*.gguf"))[0])
weights = {tensor.name: (dequantize(tensor.data, tensor.tensor_type), tensor.tensor_type) for tensor in reader.tensors}
field = lambda key: reader.fields[f"llama.{key}"].contents()
heads, key_heads, eps, base = (field(key) for key in (
    "attention.head_count", "attention.head_count_kv", "attention.layer_norm_rms_epsilon", "rope.freq_base"))


def in_blocks(x):
    """[..., 32 n] as blocks of 8 bits hold it."""
    blocks = x.reshape(-1, 32)
    scale = numpy.abs(blocks).max(1, keepdims=True) / 127
    multiples = numpy.divide(blocks, scale, out=numpy.zeros_like(blocks), where=scale > 0).round()
    return (multiples * scale.astype(numpy.float16).astype(numpy.float32)).reshape(x.shape)


def product(name, x, rounds):
    weight, kind = weights[name]
    if rounds and kind in (GGMLQuantizationType.Q8_0, GGMLQuantizationType.Q4_0):
        x = in_blocks(x.astype(numpy.float32))
    return x @ weight.T


def norm(name, x):
    return x / numpy.sqrt((x * x).mean(-1, keepdims=True) + eps) * weights[name][0]


def rotated(x):
    """[tokens, heads, D]: neighbours are pairs."""
    size = x.shape[2]
    angles = numpy.arange(len(x))[:, None, None] * base ** (-numpy.arange(0, size, 2) / size)
    even, odd = x[..., 0::2], x[..., 1::2]
    pairs = even * numpy.cos(angles) - odd * numpy.sin(angles), even * numpy.sin(angles) + odd * numpy.cos(angles)
    return numpy.stack(pairs, -1).reshape(x.shape)


def last_logits(ids, rounds):
    x = weights["token_embd.weight"][0][ids].astype(numpy.float32)
    count = len(ids)
    hidden = numpy.triu(numpy.full((count, count), -numpy.inf), 1)
    for layer in range(field("block_count")):
        own = lambda name: f"blk.{layer}.{name}.weight"
        y = norm(own("attn_norm"), x)
        queries, keys, values = (product(own(f"attn_{name}"), y, rounds).reshape(count, many, -1)
                                 for name, many in (("q", heads), ("k", key_heads), ("v", key_heads)))
        queries, keys = rotated(queries), rotated(keys).repeat(heads // key_heads, 1)
        scores = numpy.einsum("nhd,mhd->hnm", queries, keys) / numpy.sqrt(queries.shape[2]) + hidden
        shares = numpy.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed = numpy.einsum("hnm,mhd->nhd", shares, values.repeat(heads // key_heads, 1)).reshape(count, -1)
        x = x + product(own("attn_output"), mixed, rounds)
        y = norm(own("ffn_norm"), x)
        gate, up = (product(own(f"ffn_{name}"), y, rounds) for name in ("gate", "up"))
        x = x + product(own("ffn_down"), gate / (1 + numpy.exp(-gate)) * up, rounds)
    return product("output.weight", norm("output_norm.weight", x[-1:]), rounds)[0]


with open(os.path.join(folder, "self-test.json")) as file:
    cases = json.load(file)["cases"]
for case in cases:
    top = [entry["id"] for entry in case["top"]]
    expected = numpy.array([entry["logit"] for entry in case["top"]])
    exact, found = (last_logits(case["ids"], rounds)[top] for rounds in (False, True))
    moved = (found - found[0]) - (expected - expected[0])
    print(json.dumps(dict(exact=round(float(numpy.abs(exact - expected).max()), 6), rounded=round(float(numpy.abs(moved).max()), 4))))
