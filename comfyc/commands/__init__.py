"""One file per command of the `comfyc` command line; each has a `command`."""
