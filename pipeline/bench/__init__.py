"""`vedette bench pipeline`: how fast the whole machine is, and how near to what decoder and engine could do alone.

Every measurement runs in a process of its own (`child.py`), pipeline and roofline in turns, since machines are noisy
and engines that share a process disturb each other. Medians are reported, raw samples kept.
"""
