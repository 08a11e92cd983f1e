"""Ways of explaining a logit, by the name that pages, the command line and run folders use.

A composite of layer-wise relevance propagation says which rule goes to which layer; definitions of the rules stand in
:mod:`cxr.explain.lrp.rules`. The other composites are there for comparison. Nothing here loads torch.
"""

from cxr.explain.composites.catalogue import (
    COMPOSITES,
    DEFAULT_COMPOSITE,
    choices_in_words,
    composite_of,
    names_of,
    option_names,
    summary,
)
from cxr.explain.composites.composite import BIAS_LABELS, BIASES, COMPARISON, LRP, Composite
from cxr.explain.composites.options import Choice, InputValue, Number, Option, Whole

__all__ = [
    "BIASES",
    "BIAS_LABELS",
    "COMPARISON",
    "COMPOSITES",
    "DEFAULT_COMPOSITE",
    "LRP",
    "Choice",
    "Composite",
    "InputValue",
    "Number",
    "Option",
    "Whole",
    "choices_in_words",
    "composite_of",
    "names_of",
    "option_names",
    "summary",
]
