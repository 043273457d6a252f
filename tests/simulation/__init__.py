"""The whole pipeline on a fake clock against services in memory, with faults at numbered points."""
