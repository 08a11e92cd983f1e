"""Finding burned-in tokens on an X-ray, and reading them."""
