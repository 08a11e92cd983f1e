"""Results as pages, figures and tables for people: HTML, Markdown, SVG, PNG, PDF and CSV."""
