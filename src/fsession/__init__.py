"""BPF tracing sessions: one program at the entry and the exit of a kernel function."""
