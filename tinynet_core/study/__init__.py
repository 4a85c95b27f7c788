"""Tasks, their records, sweeps, presets and the pages that rest on them."""
