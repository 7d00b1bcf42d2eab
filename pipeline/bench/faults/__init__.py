"""`vedette bench faults`: a drawn, reproducible schedule of faults around a real run, judged from outside.

schedule.py draws it; site.py owns the servers, the proxies and the child `vedette run` and does what the schedule says;
subscriber.py reads Redis as anyone could; verdict.py holds what was seen to what is promised; run.py joins them.
Nothing of the pipeline's own code is patched or imported into the process that is judged.
"""
