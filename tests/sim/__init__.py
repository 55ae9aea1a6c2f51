"""Seeded worlds: many accounts on a virtual clock in a hostile world. `make sim` plays thousands."""
