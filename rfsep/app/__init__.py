"""The commands: configs, runs, training, evaluation and what `rfsep` offers."""
