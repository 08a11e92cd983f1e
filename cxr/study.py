"""Studies under the name that they had before :mod:`cxr.experiments.study`, so that older scripts go on."""

from cxr.experiments.study import *  # noqa: F403
from cxr.experiments.study import __all__ as __all__
