"""From any file to grey pixels: decoding, resizing, and images decoded once and kept."""
