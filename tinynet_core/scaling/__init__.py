"""Multipliers, budgets, the tiny formula and its frontier."""
