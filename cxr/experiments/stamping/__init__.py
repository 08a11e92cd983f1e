"""The stamping experiment: what a network says once a token is put onto X-rays."""
