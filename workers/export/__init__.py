"""Events on their way out to a warehouse: files per day and type, on disk or in an object store.

`run` compares what the store has of each day (`contents`) with what the day's manifest says (`manifest`), writes
the files that differ (`files`) to a target (`targets`: a folder, `objects`: an object store), and the manifest
last. Each file is replaced as a whole, in one step: whoever reads all files of a target reads every event exactly
once, as the store had it, whatever was killed at any moment. docs/export.md describes what is written.
"""
