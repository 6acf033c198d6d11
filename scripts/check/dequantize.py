"""Holds the dequantisation of every ggml type against the Python package gguf, bit for bit, on random blocks.

    node scripts/setup.mjs && python scripts/check/dequantize.py [BLOCKS]   # 100,000 by default; needs gguf and numpy

Scales are any finite halves, all other bits are random. Exits with 1 when a value differs.
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

# Byte offsets of the half-precision scales in a block.
SCALES = {
    Type.Q8_0: [0], Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q2_K: [80, 82], Type.Q3_K: [108],
    Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208], Type.IQ4_NL: [0], Type.IQ4_XS: [0], Type.MXFP4: [], Type.TQ1_0: [52],
    Type.TQ2_0: [64], Type.BF16: [], Type.F16: [0],
}
READER = """
import { readFileSync, writeFileSync } from 'node:fs'
const { blockLayout, dequantize } = await import(process.argv[1])
const [type, from, to] = process.argv.slice(2)
const bytes = readFileSync(from)
const { blockSize, bytesPerBlock } = blockLayout(type)
const out = new Float32Array((bytes.length / bytesPerBlock) * blockSize)
dequantize(type, bytes, out)
writeFileSync(to, new Uint8Array(out.buffer))
"""


def main(count):
    random = np.random.default_rng(7)
    failed = False
    for type, offsets in SCALES.items():
        size = gguf.GGML_QUANT_SIZES[type][1]
        blocks = random.integers(0, 256, (count, size), dtype=np.uint8)
        for at in offsets:
            halves = random.integers(0, 65536, count, dtype="<u2")
            halves[(halves & 0x7C00) == 0x7C00] &= 0x83FF
            blocks[:, at : at + 2] = halves.view(np.uint8).reshape(-1, 2)
        if type == Type.BF16:
            blocks[(blocks[:, 1] & 0x7F) == 0x7F] = 0
        with np.errstate(over="ignore"):
            expected = dequantize(blocks.view("<f2") if type == Type.F16 else blocks, type).astype("<f4").tobytes()
        with tempfile.TemporaryDirectory() as folder:
            stored, values = Path(folder, "blocks"), Path(folder, "values")
            stored.write_bytes(blocks.tobytes())
            module = Path("dist/src/formats/dequantize.js").resolve().as_uri()
            subprocess.run(["node", "--input-type=module", "-e", READER, module, type.name, stored, values], check=True)
            equal = values.read_bytes() == expected
        failed |= not equal
        print(f"{type.name:7} {count:,} blocks, {len(expected) // 4:,} values: {'equal' if equal else 'DIFFERENT'}")
    sys.exit(1 if failed else 0)


main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
