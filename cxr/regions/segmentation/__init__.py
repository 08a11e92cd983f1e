"""The shipped segmentation of lungs: a small U-Net, its pictures, and when its answer is implausible."""
