"""From notebooks to a website: execute, stage, build. Each step repeats only what changed."""
