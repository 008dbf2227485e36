"""From stage to stage over a run folder: its files, its manifest, the stages, and the whole job from Python."""
