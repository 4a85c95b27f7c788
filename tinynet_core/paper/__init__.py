"""The paper's numbers as data, and the ledger that holds each claim against a measurement."""
