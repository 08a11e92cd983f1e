"""Protocol probes: what a simple classifier still reads where the lungs, or all but the border or the text, are hidden.

:func:`cxr.experiments.probes.probing.probe` probes descriptors in memory; the run is ``cxr data probe``.
"""
