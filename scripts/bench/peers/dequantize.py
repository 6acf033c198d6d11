"""Write a GGUF model as an ordinary float32 Hugging Face folder: dequantize.py GGUF_FILE OUT_FOLDER.

Needs torch, transformers and gguf. Every peer script reads the folder; gradprompt reads the GGUF file itself.
"""
import os, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, name = os.path.split(os.path.abspath(sys.argv[1]))
tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
config = quantised.config.to_dict()
config.pop("quantization_config", None)
plain = type(quantised)(type(quantised.config)(**config))
plain.load_state_dict(quantised.state_dict())
plain.tie_weights()
plain.save_pretrained(sys.argv[2])
tokenizer.save_pretrained(sys.argv[2])
