"""What is measured beside trainings: activation maps, latencies, released weights."""
