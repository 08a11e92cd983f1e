"""Results as pages for people: HTML and SVG."""
