"""BPF instructions: values, encoding, text, control flow. RFC 9669."""
