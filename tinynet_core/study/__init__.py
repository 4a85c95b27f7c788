"""Tasks, their records, sweeps, presets and the pages that use them."""
