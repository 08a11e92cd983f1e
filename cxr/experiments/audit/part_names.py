"""The parts of an audit by name, in the order in which they are done: what is cheap and heavy first."""

from __future__ import annotations

PARTS: dict[str, str] = {
    "evaluation": "Test figures",
    "seen": "Seen before",
    "external": "X-rays from elsewhere",
    "slices": "Slices",
    "text": "Burned-in text",
    "stamping": "Stamped mark",
    "data": "Data audit",
    "duplicates": "Duplicates",
    "checks": "Not what they seem",
    "probes": "Protocol probes",
    "relevance": "Relevance by region",
    "clusters": "Clusters of heatmaps",
    "openings": "Locked test split",
}
"""``{name: title for people}``."""
