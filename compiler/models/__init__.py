"""Model files: recognition, key names, LoRA kinds, hashes."""
