"""How fast a network is here, in every runtime and precision that this machine has, side by side in one run.

Every candidate lives in a process of its own, since runtimes that share one slow each other down, and they take turns,
round after round, in alternating order, so that what the machine does meanwhile meets them all alike. Figures are
compared within a round first: the medians of those ratios are what is worth trusting on a shared machine.
"""
