"""Tools for the people who work on comfyc; nothing here is installed."""
