"""`vedette bench isolation` and `vedette bench staleness`: what streams take from each other, judged from outside.

site.py owns the servers and the process under judgement, which gets cores of its own; view.py makes figures of what a
subscriber read; isolation.py and staleness.py are the two runs, each with its verdict beside it (…_verdict.py), pure
functions of the figures; send_queue.py looks at what the kernel holds for the cameras.
"""
