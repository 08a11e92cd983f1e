"""The X-rays of a training: which ones, as which pixels, in which order, with which random changes."""
