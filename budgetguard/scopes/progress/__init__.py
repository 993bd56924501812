"""
Progress of long work: how many rows are done, what they cost, and how far the budget will reach.

`pace` is the arithmetic, `purse` what is spent and left, `desk` the threads that read and draw, `faces/` how it looks.
"""

from .track import AsyncTrack as AsyncTrack
from .track import Track as Track
from .track import track as track
