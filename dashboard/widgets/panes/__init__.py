"""The picture viewer: X-rays and their relevance in panes that share one zoom, drawn in the browser."""
