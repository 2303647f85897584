"""GPU kernels of our own, in Triton: imported by what compiles engines, never by what runs them."""
