"""From a text prompt to token chunks: prompt syntax, CLIP's byte pair encoding, textual inversion vectors."""
