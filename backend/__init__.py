"""Everything behind the page: nouns, array operations, storage, networks, training, stages and jobs."""

__version__ = "0.1.0"
