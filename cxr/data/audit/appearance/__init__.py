"""X-rays that are not what a data set takes them for: turned, mirrored, inverted, lateral, no chest, empty or cut.

A small model looks at the picture in 64 x 64 pixels (:mod:`.model`), rules at grey values, uniform parts and the aspect
(:mod:`.picture`), and ages come from the manifest (:mod:`.children`). :mod:`.flags` puts them together.
"""
