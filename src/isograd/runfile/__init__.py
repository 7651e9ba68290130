"""A run on disk: an append-only log of framed records, one per rank.

Format: `docs/runfile.md`. Nothing here imports torch.
"""

from isograd.runfile.catalogue import Summary as Summary
from isograd.runfile.catalogue import find_runs as find_runs
from isograd.runfile.follow import Follower as Follower
from isograd.runfile.follow import Position as Position
from isograd.runfile.follow import Record as Record
from isograd.runfile.follow import follow as follow
from isograd.runfile.read import load as load
from isograd.runfile.read import load_all as load_all
from isograd.runfile.writer import RunWriter as RunWriter
from isograd.runfile.writer import free_directory as free_directory
