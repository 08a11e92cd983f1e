"""A kind of run as a newcomer adds it: how bright X-rays are, by class. All of it stands in this folder.

One line in ``cxr.runs.kinds`` makes it known; the tests add that line for themselves.
"""

from cxr.runs import Kind

KIND = Kind(
    "brightness",
    "how bright X-rays are, by class",
    job="tests.runs.brightness.job:run",
    params="tests.runs.brightness.settings:BrightnessParams",
)
