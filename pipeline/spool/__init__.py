"""Events on disk until Redis has them: bounded, in order, checksummed, promised once fsync'd.

`Spool` is the whole of it and knows neither threads nor clocks; `Directory` is the file system it lives on. Driven by
the thread `spool:{sink}` (`pipeline/outlet_spool.py`) and by no other; why: docs/decisions/0003-spool-thread.md.
"""

from pipeline.spool.directory import Directory
from pipeline.spool.recovery import LostRecords, Recovery
from pipeline.spool.spool import Disk, Spool, SpoolRecord

__all__ = ["Directory", "Disk", "LostRecords", "Recovery", "Spool", "SpoolRecord"]
