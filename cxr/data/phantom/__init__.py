"""Synthetic chest X-rays with known lungs, lesions and burned-in text, from a seed.

They are there to try the programs without patients' data and to measure what a network looks at: whether the text
tells the class is a parameter. They are not a model of disease, and no result on them says anything of real X-rays.
"""

from cxr.data.phantom.demo import demo_phantom, write_demo
from cxr.data.phantom.phantom import CLASSES, Phantom, make_phantom
from cxr.data.phantom.token_sets import FONTS, TOKEN_SETS, Token, TokenSet

__all__ = [
    "CLASSES",
    "FONTS",
    "TOKEN_SETS",
    "Phantom",
    "Token",
    "TokenSet",
    "demo_phantom",
    "make_phantom",
    "write_demo",
]
