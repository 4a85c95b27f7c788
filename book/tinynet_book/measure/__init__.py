"""Measurements other than trainings: activation maps, latencies, released weights."""
