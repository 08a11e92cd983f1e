"""Commands of experiments: token vocabulary, stamped tokens, studies."""
