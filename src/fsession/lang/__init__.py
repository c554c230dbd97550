"""Programs in Python and expressions in C, compiled to BPF: see docs/lang.md."""
